"""The Kubernetes files are valid and fit one another, the image and the command line."""

import json
from ipaddress import ip_address, ip_network
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
KINDS = ("requests", "limits")
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
    return [container for pod in _pods(job) for container in pod["containers"]]


def _pods(job: dict[str, Any]) -> list[dict[str, Any]]:
    templates = [group["template"] for group in _groups(job)]
    return [template["spec"] for template in (*templates, job["spec"]["submitterPodTemplate"])]


def test_every_document_is_valid() -> None:
    names = {path.name for path in FILES.glob("*.yaml")}
    assert names >= {"rayjob.yaml", "account.yaml", "network.yaml"}
    names.remove("kueue.yaml")  # see test_kubernetes_patches.py
    for name in names:
        for document in _documents(name):
            if document["kind"] != "RayJob":
                kubernetes_validate.validate(document, KUBERNETES, strict=True)
                continue
            jsonschema.validate(document, SCHEMA)
            for spec in _pods(document):
                pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": spec}
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
    assert options.accept_rejects, "a retry, which is a new cluster, scores no rejected row"
    workers, _ = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    (container,) = workers["template"]["spec"]["containers"]
    gpus = int(container["resources"]["limits"]["nvidia.com/gpu"])
    assert options.actors == workers["maxReplicas"] * gpus / options.gpus_per_actor


def test_gpus_run_on_spot_nodes_and_the_driver_does_not(
    job: dict[str, Any],
) -> None:
    head, workers, _ = _groups(job)
    spot = workers["template"]["spec"]
    assert spot["nodeSelector"] == {"karpenter.sh/capacity-type": "spot"}
    assert {"nvidia.com/gpu"} <= {toleration["key"] for toleration in spot["tolerations"]}
    assert workers["minReplicas"] < workers["maxReplicas"]
    assert job["spec"]["rayClusterSpec"]["enableInTreeAutoscaling"] is True
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert head["template"]["spec"]["nodeSelector"] == {"karpenter.sh/capacity-type": "on-demand"}
    assert "tolerations" not in head["template"]["spec"]
    assert "nvidia.com/gpu" not in json.dumps(head)


def test_planning_has_nodes_without_gpus(job: dict[str, Any]) -> None:
    _, _, planners = _groups(job)
    assert (planners["replicas"], planners["minReplicas"]) == (0, 0)
    assert planners["maxReplicas"] > 0
    pod = planners["template"]["spec"]
    assert "nvidia.com/gpu" not in json.dumps(pod), "neither requested nor tolerated"
    (container,) = pod["containers"]
    requests = container["resources"]["requests"]
    gibibytes = int(requests["memory"].removesuffix("Gi"))
    assert gibibytes >= 2 * int(requests["cpu"]), "an actor per core"


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
    for pod in _pods(job):
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
    autoscaler = job["spec"]["rayClusterSpec"]["autoscalerOptions"]
    for container in (*_containers(job), autoscaler):
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_pods_write_to_volumes_that_end_with_them(job: dict[str, Any]) -> None:
    written = {"/tmp", "/home/memscan"}
    for pod in _pods(job):
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            mounts = {one["mountPath"]: volumes[one["name"]] for one in container["volumeMounts"]}
            assert written <= mounts.keys()
            assert all("emptyDir" in mounts[path] for path in written)
    image = (ROOT / "infra/Dockerfile").read_text()
    assert "WORKDIR /home/memscan" in image


def test_every_pod_requests_the_storage_that_it_writes_to(job: dict[str, Any]) -> None:
    storage = [
        [
            int(container["resources"][kind]["ephemeral-storage"].removesuffix("Gi"))
            for kind in KINDS
        ]
        for container in _containers(job)
    ]
    assert all(requested <= most for requested, most in storage)
    guide = " ".join((ROOT / "infra/README.md").read_text().split())
    *clusters, _ = storage
    for requested, most in clusters:
        assert f"requests {requested} GiB of ephemeral storage, and is evicted over {most}" in guide


def test_only_the_head_can_ask_the_cluster_s_api(job: dict[str, Any]) -> None:
    head, *others = _pods(job)
    assert "automountServiceAccountToken" not in head
    assert [pod["automountServiceAccountToken"] for pod in others] == [False] * 3


def test_ray_accepts_only_its_own_pods_and_requires_a_token(job: dict[str, Any]) -> None:
    (policy,) = _documents("network.yaml")
    spec = policy["spec"]
    assert policy["metadata"]["namespace"] == job["metadata"]["namespace"]
    assert (spec["podSelector"], set(spec["policyTypes"])) == ({}, {"Ingress", "Egress"})
    own, operator = spec["ingress"]
    assert own == {"from": [{"podSelector": {}}]}
    assert [port["port"] for port in operator["ports"]] == [8265]
    within, names, outside = spec["egress"]
    assert within == {"to": [{"podSelector": {}}]}
    assert {port["port"] for port in names["ports"]} == {53}
    assert {port["port"] for port in outside["ports"]} == {443, 6443}
    blocks = [ip_network(one["ipBlock"]["except"][0]) for one in outside["to"]]
    for metadata in ("169.254.169.254", "169.254.170.23", "fd00:ec2::254"):
        assert any(ip_address(metadata) in block for block in blocks)
    assert job["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}


def test_the_job_has_one_image_and_a_supported_ray_version(
    job: dict[str, Any],
) -> None:
    assert len({container["image"] for container in _containers(job)}) == 1
    stated = tuple(map(int, job["spec"]["rayClusterSpec"]["rayVersion"].split(".")))
    # Tokens by authOptions need 2.52; the image installs the newest, as this environment did.
    assert (2, 52) <= stated[:2] <= tuple(map(int, ray.__version__.split(".")[:2]))
