"""Ask a cluster's autoscaler for CPUs before the actors that will use them exist."""

from scanner.cluster.connection.address import joins_cluster
from scanner.cluster.connection.starting import start_ray

MOST_CPUS = 1024


def request_cpus(count: int, address: str | None) -> str:
    """Ask the autoscaler of the cluster at ``address`` for CPUs, at most MOST_CPUS in total.

    Otherwise an actor is started only when a node has room for it, and a cluster that has shrunk
    grows by one node at a time. Replaces the last request on the cluster; 0 withdraws it. A local
    Ray, and a cluster without an autoscaler, ignore it. Returns why it failed, "" if it did not.
    """
    if not joins_cluster(address):
        return ""
    start_ray(address)
    from ray.autoscaler.sdk import request_resources

    try:
        request_resources(num_cpus=min(count, MOST_CPUS))
    except Exception as error:  # only a hint: whatever Ray or gRPC raises, actors start without it
        return f"the autoscaler cannot be asked for CPUs: {type(error).__name__}: {error}"
    return ""
