"""Recognize secrets in URLs and messages by parameter name, and hide them."""

import os
import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote

HIDDEN = "***"
# Maximum number of nested percent-encodings that are decoded.
DEPTH = 5
# Substrings of secret parameter names: X-Amz-Security-Token, apikey, oauth2.
_FAMILIES = re.compile(
    "token(?!i[sz])|secret|passw|passphrase|pwd|credential|signature|bearer|jwt|hmac|cookie"
    "|session|access[-_]?id|key|auth(?!or(?!i[sz]))"
)
# Matched as whole words only (not in design, Kansas, compass).
_WORDS = {"sig", "sas", "pass", "pin", "otp", "cred", "creds"}
_HARMLESS = re.compile("monkey|donkey|turkey|whiskey|[hj]ockey|key(?:word|board|note|frame)")
_WORD = re.compile("[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_FILE_NAME = re.compile(r"[^=]*\.(?=[a-z0-9]*[a-z])[a-z0-9]{1,8}", re.IGNORECASE)
_PARAMETER = re.compile("[?&;#]([^?&;#=]*)=([^?&;#]+)")
# A secret key can contain a slash; digits before the first slash can be a port.
_PASSWORD = re.compile(r"://[^/@?#]*:(?!\d+(?:[/?#]|$))[^@]*@|https?://[^/@?#]*@", re.IGNORECASE)
_URL = re.compile(r"\b([a-z][a-z0-9+.-]*)://[^\s'\"<>`]+", re.IGNORECASE)
_VARIABLE = re.compile(
    "token|secret|passw|passphrase|credential|api_?key|access_?key|private_?key"
    "|account_?key|connection_string"
)
_NO_VALUE = ("_path", "_file", "_dir", "_uri", "_url")
SHORTEST = 8
_elsewhere: set[str] = set()


def is_secret_name(name: str) -> bool:
    """Return whether a parameter of this name holds a secret."""
    words = {word.lower() for word in _WORD.findall(name)}
    return bool(_FAMILIES.search(_HARMLESS.sub("", name.lower())) or words & _WORDS)


def secret_in(url: str) -> str:
    """Return a description of the secret in a URL ("the parameter sig"), "" if there is none.

    Checks the part before the host and the parameters of query, fragment and path, also
    percent-encoded once or several times, as in a URL inside a URL. Local paths and ``file://``
    URLs have no parameters.
    """
    scheme, is_url, _ = url.partition("://")
    if not is_url or scheme.lower() == "file":
        return ""
    for text in _decoded(url):
        if _PASSWORD.search(text):
            return "a password"
        for name, value in _PARAMETER.findall(text):
            # ?key=part-0.parquet names an object.
            names_file = name.lower() == "key" and _FILE_NAME.fullmatch(value)
            if is_secret_name(name) and not names_file:
                shown = re.sub(r"[^\w.-]", "", name)
                return f"the parameter {shown[:40]}"
    return ""


def hide(variables: Mapping[str, str]) -> None:
    """Hide the secrets among the environment variables of other processes too, from now on."""
    _elsewhere.update(_secrets_of(variables))


def without_secrets(text: str) -> str:
    """Return a message with secrets hidden: in its URLs, from this process's environment, and those
    given to :func:`hide`."""
    text = _URL.sub(lambda match: _hidden(match.group(), match.group(1)), text)
    # The longest first, which may contain others.
    for value in sorted(_secrets_of(os.environ) | _elsewhere, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return text


def _hidden(url: str, scheme: str) -> str:
    if not secret_in(url):
        return url
    place = re.split("[?;#]", url, maxsplit=1)[0]
    return f"{scheme}://{HIDDEN}" if secret_in(place) or place == url else f"{place}?{HIDDEN}"


def _decoded(url: str) -> Iterator[str]:
    """Yield a URL as it is, then decoded once, twice, …"""
    for _ in range(DEPTH):
        yield url
        decoded = unquote(url)
        if decoded == url:
            return
        url = decoded


def _secrets_of(variables: Mapping[str, str]) -> set[str]:
    """Return the secrets among environment variables, by their names."""
    found = {
        value
        for name, value in variables.items()
        if _VARIABLE.search(name.lower()) and not name.lower().endswith(_NO_VALUE)
    }
    # A connection string (AccountName=…;AccountKey=…) holds its secrets among other settings.
    settings = [part.partition("=") for value in found for part in value.split(";")]
    found |= {value for name, _, value in settings if is_secret_name(name)}
    return {value for value in found if len(value) >= SHORTEST}
