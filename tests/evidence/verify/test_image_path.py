import pytest

from scanner.errors import UsageError
from scanner.evidence.verify.image_path import UnsafeValue, filled, names_of


def test_a_template_is_filled_with_a_samples_values() -> None:
    sample = {"key": "00012/000123", "n": 7}
    assert filled("s3://bucket/{key}.jpg", sample) == "s3://bucket/00012/000123.jpg"
    assert filled("/data/{n}/{{x}}/{key}", sample) == "/data/7/{x}/00012/000123"
    assert filled("{url}", {"url": "https://a.example/x.jpg"}) == "https://a.example/x.jpg"


@pytest.mark.parametrize(
    "value",
    ["../secret", "a/../../b", "/etc/passwd", "\\\\host\\x", "file:///etc/passwd", "a\nb", None],
)
def test_a_value_cannot_lead_out_of_the_template(value: str | None) -> None:
    with pytest.raises(UnsafeValue):
        filled("/data/{key}.jpg", {"key": value})


@pytest.mark.parametrize("value", ["/etc/passwd", "file:///etc/passwd", "s3://other/x", "x.jpg"])
def test_a_template_without_a_store_leads_to_the_web_only(value: str) -> None:
    with pytest.raises(UnsafeValue):
        filled("{url}", {"url": value})


def test_a_value_does_not_choose_the_bucket_or_host() -> None:
    with pytest.raises(UnsafeValue):
        filled("s3://{bucket}/x.jpg", {"bucket": "theirs"})
    with pytest.raises(UnsafeValue):
        filled("https://images.example{key}", {"key": ".evil.example/x"})


@pytest.mark.parametrize(
    "template", ["/data/x.jpg", "{key", "{key.__class__}", "{0[a]}", "{key!r}", "{key:>9}", "{}"]
)
def test_only_plain_names_go_into_braces(template: str) -> None:
    with pytest.raises(UsageError, match="--images"):
        names_of(template)
