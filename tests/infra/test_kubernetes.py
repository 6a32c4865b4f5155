"""The Kubernetes files are valid and fit one another, the image and the command line."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import ray
import yaml

from tests.commands import parsed

ROOT = Path(__file__).parents[2]
FILES = ROOT / "infra/kubernetes"
KUBERNETES = "1.34"
SCHEMA = json.loads((Path(__file__).parent / "rayjob.schema.json").read_text())


def _documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FILES / name).read_text()))


@pytest.fixture
def job() -> dict[str, Any]:
    (job,) = _documents("rayjob.yaml")
    return job


def _groups(job: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = job["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def _containers(job: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        container for group in _groups(job) for container in group["template"]["spec"]["containers"]
    ]


def test_every_document_is_valid() -> None:
    names = {path.name for path in FILES.glob("*.yaml")}
    assert names >= {"rayjob.yaml", "account.yaml"}
    for name in names:
        for document in _documents(name):
            if document["kind"] != "RayJob":
                kubernetes_validate.validate(document, KUBERNETES, strict=True)
                continue
            jsonschema.validate(document, SCHEMA)
            for group in _groups(document):
                pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {}} | group["template"]
                kubernetes_validate.validate(pod, KUBERNETES, strict=True)


@pytest.mark.parametrize(
    "change",
    [
        lambda job: job["spec"].update(ttlSecondAfterFinished=1),
        lambda job: job["spec"].update(shutdownAfterJobFinishes=False),
        lambda job: job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0].update(maxReplicas="16"),
        lambda job: job["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"].update(x=0),
    ],
)
def test_a_mistake_in_the_job_is_found(job: dict[str, Any], change: Any) -> None:
    change(job)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(job, SCHEMA)


def test_the_entrypoint_is_a_scan_on_the_job_s_cluster(job: dict[str, Any], tmp_path: Path) -> None:
    entrypoint = job["spec"]["entrypoint"]
    (mounted,) = [word for word in entrypoint.split() if word.endswith(".toml")]
    template = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    (mount,) = [
        mount
        for mount in template["containers"][0]["volumeMounts"]
        if mounted == f"{mount['mountPath']}/job.toml"
    ]
    (volume,) = [volume for volume in template["volumes"] if volume["name"] == mount["name"]]
    assert volume["configMap"]["name"] == "memscan-job"

    there = tmp_path / "job.toml"
    there.write_text((ROOT / "infra/jobs/laion.toml").read_text())
    options = parsed(entrypoint.replace(mounted, str(there)))
    assert options.address == "auto"
    assert options.device == "cuda", "the driver's node has no GPU to tell it by"
    (workers,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    (container,) = workers["template"]["spec"]["containers"]
    gpus = int(container["resources"]["limits"]["nvidia.com/gpu"])
    assert options.actors == workers["maxReplicas"] * gpus / options.gpus_per_actor


def test_gpus_are_on_spot_nodes_that_come_and_go_and_the_driver_is_not(
    job: dict[str, Any],
) -> None:
    head, workers = _groups(job)
    spot = workers["template"]["spec"]
    assert spot["nodeSelector"] == {"karpenter.sh/capacity-type": "spot"}
    assert {"nvidia.com/gpu"} <= {toleration["key"] for toleration in spot["tolerations"]}
    assert workers["minReplicas"] < workers["maxReplicas"]
    assert job["spec"]["rayClusterSpec"]["enableInTreeAutoscaling"] is True
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert head["template"]["spec"]["nodeSelector"] == {"karpenter.sh/capacity-type": "on-demand"}
    assert "tolerations" not in head["template"]["spec"]
    assert "nvidia.com/gpu" not in json.dumps(head)


def test_pods_are_the_account_that_the_bucket_lets_in(job: dict[str, Any]) -> None:
    namespace, account = _documents("account.yaml")
    assert namespace["metadata"]["name"] == account["metadata"]["namespace"]
    assert job["metadata"]["namespace"] == namespace["metadata"]["name"]
    for group in _groups(job):
        assert group["template"]["spec"]["serviceAccountName"] == account["metadata"]["name"]
    (role,) = account["metadata"]["annotations"].values()
    policy = json.loads((ROOT / "infra/s3/bucket-policy.json").read_text())
    assert {statement["Principal"]["AWS"] for statement in policy["Statement"]} == {role}


def test_pods_are_not_root_and_have_no_privileges(job: dict[str, Any]) -> None:
    for group in _groups(job):
        assert group["template"]["spec"]["securityContext"]["runAsNonRoot"] is True
    for container in _containers(job):
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_the_job_has_one_image_and_a_version_of_ray_that_the_package_takes(
    job: dict[str, Any],
) -> None:
    assert len({container["image"] for container in _containers(job)}) == 1
    stated = tuple(map(int, job["spec"]["rayClusterSpec"]["rayVersion"].split(".")))
    # Tokens by authOptions need 2.52; the image installs the newest, as this environment did.
    assert (2, 52) <= stated[:2] <= tuple(map(int, ray.__version__.split(".")[:2]))
