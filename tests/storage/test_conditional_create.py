"""What each back end's refusal of a conditional write means: the file exists, or try again."""

import errno
import time

import pytest
from botocore.exceptions import ClientError
from s3fs.errors import translate_boto_error

from scanner.errors import UserError
from scanner.storage.conditional_create import (
    CONFLICT_RETRIES,
    Refusal,
    create_if_absent,
    refusal_of,
)


class Refusing:
    """A file system whose first writes fail."""

    def __init__(self, protocol: str, *errors: Exception) -> None:
        self.protocol, self.errors, self.writes = protocol, list(errors), 0

    def pipe_file(self, path: str, data: bytes, mode: str) -> None:
        assert mode == "create"
        self.writes += 1
        if self.errors:
            raise self.errors.pop(0)


def _s3(code: str, status: int) -> OSError:
    response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    error = translate_boto_error(ClientError(response, "PutObject"))
    assert isinstance(error, OSError)
    return error


def _azure(code: str) -> FileExistsError:
    error = FileExistsError(errno.EEXIST, "from Azure", "az://c/x")
    vars(error)["azure_code"] = code
    return error


EXISTS, CONFLICT = Refusal.EXISTS, Refusal.CONFLICT
CASES = [
    ("s3", _s3("PreconditionFailed", 412), EXISTS),
    ("s3", _s3("ConditionalRequestConflict", 409), CONFLICT),
    ("s3", _s3("AccessDenied", 403), None),
    ("s3", OSError(errno.EEXIST, "exists"), EXISTS),
    ("gs", FileExistsError("gs://b/x"), EXISTS),
    ("gs", PermissionError("gs://b/x"), None),
    ("abfs", _azure("BlobAlreadyExists"), EXISTS),
    ("abfs", _azure("ConditionNotMet"), EXISTS),
    ("abfs", _azure("ContainerBeingDeleted"), CONFLICT),
    ("abfs", _azure("LeaseIdMissing"), CONFLICT),
    ("abfs", PermissionError("az://c/x"), None),
    ("oss", FileExistsError("x"), EXISTS),
    ("oss", OSError("x"), None),
]


@pytest.mark.parametrize(
    ("protocol", "error", "meaning"), CASES, ids=lambda value: str(getattr(value, "args", value))
)
def test_a_refusal_has_the_meaning_of_its_back_end(
    protocol: str, error: OSError, meaning: Refusal | None
) -> None:
    assert refusal_of(Refusing(protocol), error) is meaning


def test_a_conflicting_write_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    conflict = _s3("ConditionalRequestConflict", 409)
    store = Refusing("s3", conflict, conflict)
    assert create_if_absent(store, "b/x", b"1", single_writer=False)
    assert store.writes == 3
    for_ever = Refusing("s3", *[conflict] * CONFLICT_RETRIES)
    with pytest.raises(UserError, match="keeps reporting a conflicting write"):
        create_if_absent(for_ever, "b/x", b"1", single_writer=False)


def test_an_error_of_another_kind_is_raised() -> None:
    with pytest.raises(PermissionError):
        create_if_absent(Refusing("gs", PermissionError("x")), "b/x", b"1", single_writer=False)
