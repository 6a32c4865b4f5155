"""Sizes of the packages of an installation and of the image."""

import pytest

from jobs.development.sizes import installation, locked_sizes
from scanner.errors import UserError

LOCK = """
[[packages]]
name = "both"
wheels = [
    { name = "both-1-cp312-cp312-win_amd64.whl", size = 5 },
    { name = "both-1-py3-none-any.whl", size = 7 },
    { url = "https://example.com/both-1-cp312-cp312-manylinux_2_28_x86_64.whl", size = 11 },
    { name = "both-1-cp313-cp313-manylinux_2_28_x86_64.whl", size = 13 },
]
[[packages]]
name = "pure"
wheels = [{ name = "pure-1-py3-none-any.whl", size = 17 }]
"""


def test_image_has_the_wheel_of_its_platform() -> None:
    assert locked_sizes(LOCK) == {"both": 11, "pure": 17}


@pytest.mark.parametrize("wheel", ["x-1-py3-none-any.whl", "x-1-cp312-cp312-win_amd64.whl"])
def test_wheel_without_size_or_for_other_systems_is_an_error(wheel: str) -> None:
    lock = f'[[packages]]\nname = "x"\nwheels = [{{ name = "{wheel}" }}]\n'
    with pytest.raises(UserError, match="x: no wheel for the image, or without size"):
        locked_sizes(lock)


@pytest.mark.slow
def test_installation_has_dependencies_of_dependencies() -> None:
    sizes = installation()
    assert sizes["torch"] > 100e6
    assert sizes["sympy"] > 1e6  # of torch
    assert "pytest" not in sizes
    assert "memorization-scanner" not in sizes
