"""The errors that are meant for the user's eyes."""


def encodable(message: str) -> str:
    """Return a message with what UTF-8 cannot spell as escapes."""
    return message.encode("utf-8", "backslashreplace").decode()


class UserError(Exception):
    """Something the user can put right; the message names what, where, and what to do.

    What is no valid Unicode in it, such as a name from a file, is shown escaped: messages are
    printed, stored as JSON and as reasons of rejects.
    """

    def __init__(self, message: str) -> None:
        super().__init__(encodable(message))


class UsageError(UserError):
    """Options that do not go together or make no sense."""
