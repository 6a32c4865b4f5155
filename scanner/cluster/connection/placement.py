"""Choose the device to compute on, and how actors share the machines."""

import torch

from scanner.cluster.connection.address import joins_cluster
from scanner.cluster.connection.options import ActorOptions
from scanner.cluster.connection.resources import Resources, nodes
from scanner.cluster.connection.runtime_env import read_runtime_env
from scanner.cluster.connection.starting import start_ray
from scanner.cores import usable_cores


def join_with(runtime_env: str | None, address: str | None) -> None:
    """Join a cluster, with a runtime environment as of ``--runtime-env``.

    To be called before anything else joins it: Ray takes the environment only then.
    """
    start_ray(address, runtime_env=read_runtime_env(runtime_env) if runtime_env else None)


def choose_resources(options: ActorOptions, device: str) -> tuple[str, Resources]:
    """Return the device (``auto``: cuda if available) and the actors with their shares.

    They are those of the cluster if one is joined, else of this machine, where Ray starts only once
    there is work.
    """
    is_joined = joins_cluster(options.address)
    if is_joined:
        join_with(options.runtime_env, options.address)
    if device == "auto":
        has_gpu = any(n.get("GPU") for n in nodes()) if is_joined else torch.cuda.is_available()
        device = "cuda" if has_gpu else "cpu"
    gpus = 0.0 if device == "cpu" else options.gpus_per_actor
    if is_joined:
        cpus = options.cpus_per_actor or (1.0 if gpus else 2.0)
        return device, Resources(options.actors, cpus, gpus)
    cores = usable_cores()
    per_device = int(torch.cuda.device_count() / gpus) if gpus else cores // 2
    actors = options.actors or max(1, per_device)
    cpus = options.cpus_per_actor or max(cores / actors, 0.01)
    return device, Resources(actors, cpus, gpus)
