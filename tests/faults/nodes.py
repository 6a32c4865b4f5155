"""Ray nodes in a process of their own: python -m tests.faults.nodes, RAY_AUTH_TOKEN set.

Ray settles for good whether it wants tokens when it is first used, so the tests' own process
cannot change that. Standard input takes a command a line, ``add`` or ``kill N`` (by signal 9),
each answered by how many nodes there are; the first line is the cluster's address. The end of
the input ends the nodes.
"""

import sys

from ray.cluster_utils import Cluster


def main() -> None:
    # The head runs no actors, so drivers, who attach to it, outlive every node that is killed.
    head = {"num_cpus": 0, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = []
    try:
        print(cluster.address, flush=True)
        for line in sys.stdin:
            command, *which = line.split()
            if command == "add":
                nodes.append(cluster.add_node(num_cpus=1))
            else:
                cluster.remove_node(nodes.pop(int(which[0])), allow_graceful=False)
            print(f"{len(nodes)} nodes", flush=True)
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
