"""The one error that is meant for the user's eyes."""


class UserError(Exception):
    """Something the user can put right; the message names what, where, and what to do."""
