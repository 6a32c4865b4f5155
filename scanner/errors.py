"""The errors that are meant for the user's eyes."""

from scanner.credentials import without_secrets


class UserError(Exception):
    """Something the user can put right; the message names what, where, and what to do.

    It may quote a server's answer or a URL: secrets in it are hidden.
    """

    def __init__(self, message: str) -> None:
        super().__init__(without_secrets(message))


class UsageError(UserError):
    """Options that do not go together or make no sense."""
