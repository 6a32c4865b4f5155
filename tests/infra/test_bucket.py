"""The bucket policy is enough for a scan and has no right too many, where it is enforced."""

import copy
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests

from jobs.scan import main
from scanner.captions.formats import why_not_read
from scanner.storage import Listing, Store, open_input, split_url
from tests.local_ray import local_ray
from tests.servers import Server, free_port, point_to
from tests.whole_scans import scores

S3 = Path(__file__).parents[2] / "infra/s3"
POLICY = json.loads((S3 / "bucket-policy.json").read_text())
RIGHTS = [
    (statement["Sid"], action)
    for statement in POLICY["Statement"]
    for action in statement["Action"]
]
BIG, PART = b"x" * (11 << 20), 5 << 20


class Account:
    """A bucket on a server of its own, and the scanner's user, who has only what is allowed."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._enforce(False)
        owner = {"aws_access_key_id": "owner", "aws_secret_access_key": "x"}
        options = {"endpoint_url": endpoint, "region_name": "us-east-1", **owner}
        self.s3, self._iam = boto3.client("s3", **options), boto3.client("iam", **options)
        self.s3.create_bucket(Bucket="bucket")
        self._iam.create_user(UserName="memscan")
        self.key = self._iam.create_access_key(UserName="memscan")["AccessKey"]

    def allow(self, policy: dict[str, Any]) -> None:
        """As a bucket's policy says for the role, here for a user: the server knows no roles."""
        policy = copy.deepcopy(policy)
        for statement in policy["Statement"]:
            assert statement.pop("Principal")
        document = json.dumps(policy).replace("BUCKET", "bucket")
        self._enforce(False)
        self._iam.put_user_policy(UserName="memscan", PolicyName="x", PolicyDocument=document)
        self._enforce(True)

    def as_owner(self, call: str, **options: Any) -> dict[str, Any]:
        self._enforce(False)
        answer = getattr(self.s3, call)(Bucket="bucket", **options)
        self._enforce(True)
        return answer

    def _enforce(self, yes: bool) -> None:
        free = "0" if yes else "inf"  # requests that are not checked yet
        requests.post(f"{self.endpoint}/moto-api/reset-auth", data=free, timeout=120)


@pytest.fixture(scope="module")
def account() -> Iterator[Account]:
    port = free_port()
    server = Server([sys.executable, "-m", "moto.server", "--port", str(port)], port)
    account = Account(f"http://127.0.0.1:{port}")
    key = account.key
    with pytest.MonkeyPatch.context() as environ:
        point_to(
            port,
            environ,
            AWS_ACCESS_KEY_ID=key["AccessKeyId"],
            AWS_SECRET_ACCESS_KEY=key["SecretAccessKey"],
        )
        yield account
    server.kill()


def test_a_scan_needs_no_more_than_the_policy_gives(account: Account) -> None:
    account.allow(POLICY)
    rows = "caption\na red cat\na blue house\na red cat\n"
    account.as_owner("put_object", Key="inputs/data/captions.csv", Body=rows.encode())
    where = ["--captions", "s3://bucket/inputs/data/", "--out", "s3://bucket/runs/one"]
    options = ["--model", "testbed", "--device", "cpu", "--actors", "1", "--cpus-per-actor", "1"]
    with local_ray():
        assert main([*where, *options]) == 0
        assert len(scores("s3://bucket/runs/one")) == 2
        assert main([*where, *options]) == 0, "a finished run is found again"
        elsewhere = ["--captions", "s3://bucket/inputs/data/", "--out", "s3://bucket/x"]
        assert main([*elsewhere, *options]) == 1


@pytest.fixture
def there(account: Account) -> None:
    """What :func:`_denied` reads."""
    account.as_owner("put_object", Key="inputs/a.csv", Body=b"caption\n")
    account.as_owner("put_object", Key="runs/two/there", Body=b"1")


def test_the_policy_refuses_nothing_that_the_storage_does(account: Account, there: None) -> None:
    account.allow(POLICY)
    assert _denied() == []


@pytest.mark.parametrize("right", RIGHTS, ids=":".join)
def test_no_right_can_be_spared(right: tuple[str, str], account: Account, there: None) -> None:
    less = copy.deepcopy(POLICY)
    for statement in less["Statement"]:
        if statement["Sid"] == right[0]:
            statement["Action"] = [action for action in statement["Action"] if action != right[1]]
    less["Statement"] = [statement for statement in less["Statement"] if statement["Action"]]
    account.allow(less)
    assert _denied() != []


def _denied() -> list[str]:
    """What the storage of a scan does that the server refuses."""
    store = Store("s3://bucket/runs/two")
    calls = {
        "read inputs": lambda: open_input("s3://bucket/inputs/a.csv").read(),
        "list inputs": lambda: Listing().add(["s3://bucket/inputs/*.csv"], why_not_read),
        "read": lambda: store.read("there"),
        "write": lambda: store.write("new", b"1"),
        "remove": lambda: store.remove("new"),
        "abort": lambda: _refused_upload(store),
    }
    denied = []
    for name, call in calls.items():
        try:
            call()
        except PermissionError:
            denied.append(name)
    return denied


def _refused_upload(store: Store) -> None:
    """An upload in parts of a file that is there: refused at its end, and so aborted."""
    fs, path = split_url(f"{store.url}/there")
    with pytest.raises(OSError) as refusal:  # noqa: PT011
        fs.pipe_file(path, BIG, chunksize=PART, mode="create")
    if isinstance(refusal.value, PermissionError):
        raise refusal.value


def test_s3_takes_the_policy_and_the_lifecycle_rule_for_orphans(account: Account) -> None:
    account.as_owner("put_bucket_policy", Policy=json.dumps(POLICY).replace("BUCKET", "bucket"))
    rules = json.loads((S3 / "lifecycle.json").read_text())
    account.as_owner("put_bucket_lifecycle_configuration", LifecycleConfiguration=rules)
    (rule,) = account.as_owner("get_bucket_lifecycle_configuration")["Rules"]
    assert rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] >= 1
    assert rule["Filter"] == {"Prefix": "runs/"}
    assert "Expiration" not in rule, "results are never expired"
    account.as_owner("delete_bucket_policy")
