"""Secrets in URLs are recognized however they are named and encoded, and never repeated."""

from urllib.parse import quote

import pytest

from scanner.credentials import is_secret_name, secret_in, without_secrets
from scanner.errors import UserError
from scanner.storage import full_url

CANARY = "Ca.nary/0123"
NAMES = [
    *("token", "hf_token", "authToken", "x-amz-security-token", "X-Amz-Signature", "SIG", "sig"),
    *("client_secret", "password", "passwd", "PWD", "user_pwd", "credentials", "X-Goog-Credential"),
    *("key", "apikey", "api_key", "x-functions-key", "subscription-key", "AWSAccessKeyId"),
    *("auth", "oauth2", "Authorization", "session", "sessionid", "bearer", "jwt", "id_jwt", "sas"),
    *("sas_url", "GoogleAccessId", "hmac", "user_pass", "data[token]", "my.token.2", "cookie"),
]
HARMLESS = [
    *("monkey", "keywords", "keyboard", "author", "authors", "authority", "design", "signal"),
    *("sigma", "tokenizer", "compass", "bypass", "passage", "kansas", "download", "versionId"),
    *("insight", "sensitive", "spin", "hockey", "x", "id", "page", "size", "revision"),
]


def _encoded(text: str, times: int) -> str:
    for _ in range(times):
        text = "".join(
            f"%{ord(letter):02x}" if letter.isalpha() else quote(letter, "") for letter in text
        )
    return text


@pytest.mark.parametrize("name", NAMES)
def test_a_secret_parameter_is_known_by_its_family(name: str) -> None:
    assert is_secret_name(name)
    for written in (name, name.upper(), _encoded(name, 1), _encoded(name, 2), _encoded(name, 3)):
        for url in (
            f"https://h.example/x.parquet?{written}={quote(CANARY)}",
            f"https://h.example/x?a=1&{written}={quote(CANARY, '')}",
            f"https://h.example/x#{written}={quote(CANARY)}",
            f"https://h.example/x;{written}={quote(CANARY)}/y",
            f"abfs://c@h.example/x?{written}={quote(CANARY)}",
            f"https://h.example/?url={quote(f'https://i.example/?{written}={CANARY}', '')}",
        ):
            with pytest.raises(UserError, match=r"the parameter .* in a URL would end up") as told:
                full_url(url)
            assert CANARY not in str(told.value)
            assert "0123" not in without_secrets(f"GET {url} failed")


@pytest.mark.parametrize("name", HARMLESS)
def test_a_harmless_parameter_is_taken(name: str) -> None:
    url = f"https://h.example/x.parquet?a=1&{name}=2"
    assert secret_in(url) == ""
    assert without_secrets(f"GET {url} failed") == f"GET {url} failed"


@pytest.mark.parametrize(
    "url",
    [
        "https://h.example/?key=train/part-0.parquet",
        "https://h.example/x.parquet?token=",
        "https://h.example:8080?mail=a@b.example",
        "https://h.example/a@b:c",
        "s3://bucket/year=2020/key=1/token=2/x.parquet",
        "file:///data/x?token=1",
        "/data/x?token=1",
        "data/a:b@c?token=1",
        "abfs://container@account/x",
    ],
)
def test_names_of_files_and_ports_are_no_secrets(url: str) -> None:
    assert secret_in(url) == ""


@pytest.mark.parametrize(
    "url",
    [
        f"https://user:{CANARY}@h.example/x",
        f"https://user%3A{quote(CANARY, '')}%40h.example/x",
        f"HTTPS://{quote(CANARY, '')}@h.example/x",
        f"s3://AKIA:{CANARY}@bucket/x",
        f"simplecache::https://user:{CANARY}@h.example/x",
    ],
)
def test_what_precedes_the_host_is_a_password(url: str) -> None:
    assert secret_in(url) == "a password"
    assert "0123" not in without_secrets(f"{url}: no such file")


def test_messages_hide_secrets_of_urls_and_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN", "MY_API_KEY"):
        monkeypatch.setenv(name, f"{CANARY}-{name}")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/home/me/.ray/auth_token")
    told = UserError(
        f"echo {CANARY}-AWS_SECRET_ACCESS_KEY {CANARY}-HF_TOKEN {CANARY}-MY_API_KEY, redirected "
        f"to https://cdn.example/x.parquet?X-Amz-Signature={CANARY}, not https://h.example/y?z=1; "
        "/home/me/.ray/auth_token"
    )
    assert str(told) == (
        "echo *** *** ***, redirected to https://cdn.example/x.parquet?*** not "
        "https://h.example/y?z=1; /home/me/.ray/auth_token"
    )


def test_the_key_in_a_connection_string_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = f"DefaultEndpointsProtocol=https;AccountName=owner;AccountKey={CANARY}=="
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", settings)
    hidden = without_secrets(f"account owner, key {CANARY}==, from {settings}")
    assert CANARY not in hidden
    assert hidden.startswith("account owner, key ***,")
