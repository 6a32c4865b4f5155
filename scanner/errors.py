"""The errors that are meant for the user's eyes."""


class UserError(Exception):
    """Something the user can put right; the message names what, where, and what to do."""


class UsageError(UserError):
    """Options that do not go together or make no sense."""
