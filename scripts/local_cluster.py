"""A Ray cluster of several nodes on this one machine, until Ctrl-C, or for as long as a command runs.

    scripts/cluster 3                                     # in one shell; sweeps in another
    scripts/cluster 3 -- python -m sweep +model=mlp dispatch.address=auto
    scripts/cluster 2 --gpus 1                            # the last node says it has a GPU, whether there is one or not

The nodes share this machine's CPUs, so their measurements disturb each other: it shows what goes where, and no times.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from sweep import interrupts
from sweep.isolate.guard import Guard


def main(arguments: list[str]) -> int:
    """The exit code of the command, if there is one."""
    mine, _, command = _parted(arguments)
    parser = argparse.ArgumentParser(
        prog="scripts/cluster", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("nodes", type=int)
    parser.add_argument("--cpus", type=float, default=1, help="that each node offers (default 1)")
    parser.add_argument("--gpus", type=float, default=0, help="that the last node says it has (default 0)")
    options = parser.parse_args(mine)
    if options.nodes < 1:
        parser.error("a cluster has at least one node")
    interrupts.listen()
    guard = Guard("SWEEP_CLUSTER")  # whatever becomes of this process, no part of Ray stays
    os.environ.update(guard.mark)
    try:
        return _run(options, command)
    except KeyboardInterrupt:
        return 0
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        guard.close()
        Path("/tmp/ray/ray_current_cluster").unlink(missing_ok=True)


def _parted(arguments: list[str]) -> tuple[list[str], str, list[str]]:
    """What is for us, and the command after `--`."""
    if "--" not in arguments:
        return arguments, "", []
    at = arguments.index("--")
    return arguments[:at], "--", arguments[at + 1 :]


def _run(options: argparse.Namespace, command: list[str]) -> int:
    from ray.cluster_utils import Cluster

    _ask_for_the_token_if_there_is_one()
    client = _free_port()
    cluster: Any = Cluster(
        initialize_head=True,
        head_node_args={**_node(options, 1), "include_dashboard": False, "ray_client_server_port": client},
    )
    for number in range(2, options.nodes + 1):
        cluster.add_node(**_node(options, number))
    print(f"{options.nodes} nodes: dispatch.address=auto, or dispatch.address=ray://127.0.0.1:{client}", flush=True)
    if os.environ.get("RAY_AUTH_MODE") == "token":
        print("it wants your token: with any other address than auto, set RAY_AUTH_MODE=token", flush=True)
    if command:
        program = sys.executable if command[0] == "python" else command[0]
        return subprocess.run([program, *command[1:]], check=False).returncode
    print("Ctrl-C ends it", flush=True)
    signal.pause()
    return 0


def _node(options: argparse.Namespace, number: int) -> dict[str, Any]:
    gpus = options.gpus if number == options.nodes else 0
    return {"num_cpus": options.cpus, "num_gpus": gpus}


def _ask_for_the_token_if_there_is_one() -> None:
    """As `ray start` does: who then connects with address=auto shows it by himself."""
    with suppress(ImportError):  # Ray had no tokens before 2.52
        from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available

        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
