"""The errors that are meant for the user's eyes."""

from scanner.credentials import without_secrets


def encodable(message: str) -> str:
    """Return a message with what UTF-8 cannot spell as escapes."""
    return message.encode("utf-8", "backslashreplace").decode()


class UserError(Exception):
    """Something the user can put right; the message names what, where, and what to do.

    It may quote a server's answer or a name from a file: secrets in it are hidden, and what is no
    valid Unicode is shown escaped, since messages are printed and stored.
    """

    def __init__(self, message: str) -> None:
        super().__init__(encodable(without_secrets(message)))


class UsageError(UserError):
    """Options that do not go together or make no sense."""
