"""What the patches make of the job: valid, with the same actors, and admitted by the queue."""

import json
import re
from pathlib import Path
from typing import Any

import jsonpatch
import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.commands import parsed

FILES = Path(__file__).parents[2] / "infra/kubernetes"
SCHEMAS = {
    name: json.loads((Path(__file__).parent / f"{name}.schema.json").read_text())
    for name in ("rayjob", "kueue")
}
SUFFIXES = {"": 1.0, "m": 1e-3, "Mi": 2.0**20, "Gi": 2.0**30}
CHOICES = [(), ("eight-gpus",), ("kueue",), ("eight-gpus", "kueue")]


def _patched(*names: str) -> dict[str, Any]:
    """What kubectl patch --local makes of the job."""
    job = yaml.safe_load((FILES / "rayjob.yaml").read_text())
    for name in names:
        operations = yaml.safe_load((FILES / f"patches/{name}.yaml").read_text())
        job = jsonpatch.apply_patch(job, operations)
    return job


def _queue() -> dict[str, dict[str, Any]]:
    """The objects of the queue, by kind."""
    documents = yaml.safe_load_all((FILES / "kueue.yaml").read_text())
    return {document["kind"]: document for document in documents}


def _number(quantity: str) -> float:
    (digits,) = re.findall(r"^[\d.]+", quantity)
    return float(digits) * SUFFIXES[quantity.removeprefix(digits)]


def _pods(job: dict[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """How many pods of each kind the job starts with, and their template's specification."""
    cluster = job["spec"]["rayClusterSpec"]
    groups = [(one["replicas"], one["template"]["spec"]) for one in cluster["workerGroupSpecs"]]
    head = cluster["headGroupSpec"]["template"]["spec"]
    return [(1, head), *groups, (1, job["spec"]["submitterPodTemplate"]["spec"])]


@pytest.mark.parametrize("names", CHOICES, ids="+".join)
def test_a_patched_job_is_valid_with_an_actor_per_gpu(names: tuple[str, ...]) -> None:
    job = _patched(*names)
    jsonschema.validate(job, SCHEMAS["rayjob"])
    for _, spec in _pods(job):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": spec}
        kubernetes_validate.validate(pod, "1.34", strict=True)
    entrypoint = job["spec"]["entrypoint"].replace("--config /etc/memscan/job.toml", "")
    options = parsed(f"{entrypoint} --captions x.csv --out run")
    group = job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
    (container,) = group["template"]["spec"]["containers"]
    requests, limits = (container["resources"][kind] for kind in ("requests", "limits"))
    gpus = int(limits["nvidia.com/gpu"])
    assert options.actors == group["maxReplicas"] * gpus / options.gpus_per_actor
    assert requests["nvidia.com/gpu"] == limits["nvidia.com/gpu"]
    # Each actor loads the model, and needs cores to tokenize and to write.
    assert _number(requests["memory"]) == _number(limits["memory"]) >= gpus * 16 * 2**30
    assert _number(requests["cpu"]) >= gpus * 4
    volumes = {volume["name"]: volume for volume in group["template"]["spec"]["volumes"]}
    assert _number(volumes["shared-memory"]["emptyDir"]["sizeLimit"]) >= 2 * 2**30


def test_the_queue_is_valid_and_of_the_job_s_namespace() -> None:
    objects = _queue()
    for one in objects.values():
        jsonschema.validate(one, SCHEMAS["kueue"])
    assert set(objects) == {
        *("ClusterQueue", "LocalQueue", "ResourceFlavor", "WorkloadPriorityClass")
    }
    cluster, local = objects["ClusterQueue"], objects["LocalQueue"]
    assert local["spec"]["clusterQueue"] == cluster["metadata"]["name"]
    job = _patched("kueue")
    assert local["metadata"]["namespace"] == job["metadata"]["namespace"]
    selected = cluster["spec"]["namespaceSelector"]["matchLabels"]
    assert selected == {"kubernetes.io/metadata.name": job["metadata"]["namespace"]}
    labels = job["metadata"]["labels"]
    assert labels["kueue.x-k8s.io/queue-name"] == local["metadata"]["name"]
    priority = objects["WorkloadPriorityClass"]["metadata"]["name"]
    assert labels["kueue.x-k8s.io/priority-class"] == priority
    (group,) = cluster["spec"]["resourceGroups"]
    (flavor,) = group["flavors"]
    assert flavor["name"] == objects["ResourceFlavor"]["metadata"]["name"]
    assert [one["name"] for one in flavor["resources"]] == group["coveredResources"]


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("ClusterQueue", "cohort", "all"),  # of v1beta1
        ("LocalQueue", "clusterQueue", "Scans"),
        ("ResourceFlavor", "nodeLabel", {}),
    ],
)
def test_a_mistake_in_the_queue_is_found(kind: str, field: str, value: object) -> None:
    wrong = _queue()[kind]
    wrong["spec"][field] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMAS["kueue"])


@pytest.mark.parametrize("names", [("kueue",), ("eight-gpus", "kueue")], ids="+".join)
def test_kueue_admits_one_scan(names: tuple[str, ...]) -> None:
    """What its webhook demands of a job, and the quota of all that the pods request."""
    job = _patched(*names)
    spec = job["spec"]
    assert (spec["suspend"], spec["shutdownAfterJobFinishes"]) == (True, True)
    cluster = spec["rayClusterSpec"]
    assert cluster["enableInTreeAutoscaling"] is False
    assert len(cluster["workerGroupSpecs"]) <= 7
    assert "head" not in {group["groupName"] for group in cluster["workerGroupSpecs"]}
    total: dict[str, float] = {}
    for count, pod in _pods(job):
        for container in pod["containers"]:
            for name, quantity in container["resources"]["requests"].items():
                total[name] = total.get(name, 0.0) + count * _number(quantity)
    (group,) = _queue()["ClusterQueue"]["spec"]["resourceGroups"]
    (flavor,) = group["flavors"]
    quota = {one["name"]: _number(one["nominalQuota"]) for one in flavor["resources"]}
    assert total.keys() == quota.keys(), "else it is never admitted"
    assert total["nvidia.com/gpu"] == quota["nvidia.com/gpu"]
    for name, requested in total.items():
        assert requested <= quota[name], name
