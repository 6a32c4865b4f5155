"""Errors shown to the user."""

from scanner.credentials import without_secrets


def encodable(message: str) -> str:
    """Return a message with characters that UTF-8 cannot encode escaped."""
    return message.encode("utf-8", "backslashreplace").decode()


class UserError(Exception):
    """An error that the user can fix; the message says what, where, and what to do.

    It may quote a server's response or a name from a file: secrets are hidden and invalid Unicode
    is escaped, since messages are printed and stored.
    """

    def __init__(self, message: str) -> None:
        super().__init__(encodable(without_secrets(message)))


class UsageError(UserError):
    """Invalid or incompatible options."""
