"""Who computes on what: the device, its precision, the actors and their shares."""

import torch

from scanner.cluster import Resources, joins_cluster, nodes, start_ray
from scanner.cores import usable_cores
from scanner.models.loading import choose_device, choose_dtype
from scanner.scan.options import ActorOptions


def choose_resources(options: ActorOptions, device: str, dtype: str) -> tuple[str, str, Resources]:
    """Device, precision, and the actors with their shares: of the cluster that is joined, else of
    this machine, where Ray starts only when there is work."""
    joined = joins_cluster(options.address)
    if joined:
        start_ray(options.address)
    if device == "auto" and joined:
        device = "cuda" if any(node.get("GPU") for node in nodes()) else "cpu"
    device = choose_device(device) if device == "auto" else device
    return device, choose_dtype(dtype, device), _resources(options, device, joined)


def _resources(options: ActorOptions, device: str, joined: bool) -> Resources:
    gpus = 0.0 if device == "cpu" else options.gpus_per_actor
    if joined:
        return Resources(options.actors, options.cpus_per_actor or (1.0 if gpus else 2.0), gpus)
    cores = usable_cores()
    by_device = int(torch.cuda.device_count() / gpus) if gpus else cores // 2
    actors = options.actors or max(1, by_device)
    return Resources(actors, options.cpus_per_actor or max(cores / actors, 0.01), gpus)
