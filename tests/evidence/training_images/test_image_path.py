import pytest

from scanner.errors import UsageError
from scanner.evidence.training_images.image_path import UnsafeValue, filled, names_of


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
def test_a_template_without_a_store_allows_only_web_addresses(value: str) -> None:
    with pytest.raises(UnsafeValue):
        filled("{url}", {"url": value})


def test_a_value_cannot_choose_the_bucket_or_host() -> None:
    with pytest.raises(UnsafeValue):
        filled("s3://{bucket}/x.jpg", {"bucket": "theirs"})
    with pytest.raises(UnsafeValue):
        filled("https://images.example{key}", {"key": ".evil.example/x"})


@pytest.mark.parametrize(
    "template", ["/data/x.jpg", "{key", "{key.__class__}", "{0[a]}", "{key!r}", "{key:>9}", "{}"]
)
def test_braces_must_hold_plain_names(template: str) -> None:
    with pytest.raises(UsageError, match="--images"):
        names_of(template)


@pytest.mark.parametrize(
    ("template", "values"),
    [
        ("/data/{a}{b}.jpg", {"a": ".", "b": "./etc/passwd"}),
        ("/data/{a}./{b}", {"a": ".", "b": "etc/passwd"}),
        ("/data/x{a}{b}", {"a": "/.", "b": "./../etc"}),
        ("s3://mine/{a}{b}", {"a": "%2e", "b": "%2e/theirs"}),
        ("https://h/d/{a}{b}", {"a": "%252e%252e", "b": "/x"}),
        ("s3://mine/{a}{b}", {"a": "x:", "b": "//y"}),
        ("s3://mine/{a}{b}", {"a": "simplecache:", "b": ":file"}),
        ("/data/{a}{b}", {"a": "", "b": "/etc/passwd"}),
        ("/data/{a}", {"a": "x\\..\\y"}),
        ("https://host{a}{b}", {"a": ".evil", "b": "/x"}),
    ],
)
def test_values_that_leave_the_folder_when_joined_are_refused(
    template: str, values: dict[str, str]
) -> None:
    with pytest.raises(UnsafeValue):
        filled(template, values)


@pytest.mark.parametrize(
    "template", ["{a}{b}", "{url}?size=1", "{scheme}://x/{key}", "{a}/{b}.jpg"]
)
def test_a_template_cannot_start_with_a_column(template: str) -> None:
    with pytest.raises(UsageError, match="starts with a column"):
        names_of(template)


def test_values_are_filled_in_after_the_literal_prefix() -> None:
    assert filled("/d/img-{n}.jpg", {"n": "7"}) == "/d/img-7.jpg"
    assert filled("s3://b/{a}/{b}.jpg", {"a": "x", "b": "y"}) == "s3://b/x/y.jpg"
