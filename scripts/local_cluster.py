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
    current = CurrentCluster()
    guard = Guard("SWEEP_CLUSTER")  # whatever becomes of this process, no part of Ray stays
    os.environ.update(guard.mark)
    try:
        return _run(options, command, current)
    except KeyboardInterrupt:
        return 0
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        guard.close()
        current.forget_ours()


class CurrentCluster:
    """The file by which Ray's address `auto` finds a cluster here. Another Ray that runs keeps its entry."""

    def __init__(self) -> None:
        from ray._common.utils import get_ray_address_file

        self._file = Path(get_ray_address_file(None))
        there = self._file.read_text() if self._file.exists() else ""
        self.others = there if _answers(there) else None
        """The address of another Ray."""
        self._ours: str | None = None

    def keep_others(self, ours: str) -> None:
        """Ours has just started, and has written its address over that of another."""
        self._ours = ours
        if self.others:
            self._file.write_text(self.others)

    def forget_ours(self) -> None:
        """Ours is no more; what somebody else wrote meanwhile stays."""
        with suppress(FileNotFoundError):
            if self._ours and self._file.read_text() == self._ours:
                self._file.unlink()


def _answers(address: str) -> bool:
    host, _, port = address.strip().rpartition(":")
    if not host or not port.isdigit():
        return False
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        return False
    return True


def _parted(arguments: list[str]) -> tuple[list[str], str, list[str]]:
    """What is for us, and the command after `--`."""
    if "--" not in arguments:
        return arguments, "", []
    at = arguments.index("--")
    return arguments[:at], "--", arguments[at + 1 :]


def _run(options: argparse.Namespace, command: list[str], current: CurrentCluster) -> int:
    from ray.cluster_utils import Cluster

    _ask_for_the_token_if_there_is_one()
    client = _free_port()
    cluster: Any = Cluster(
        initialize_head=True,
        head_node_args={**_node(options, 1), "include_dashboard": False, "ray_client_server_port": client},
    )
    for number in range(2, options.nodes + 1):
        cluster.add_node(**_node(options, number))
    address = cluster.address
    current.keep_others(address)
    direct = f"{address} ({current.others} is another Ray's, and what auto means)" if current.others else "auto"
    print(f"{options.nodes} nodes: dispatch.address={direct}, or dispatch.address=ray://127.0.0.1:{client}", flush=True)
    if os.environ.get("RAY_AUTH_MODE") == "token":
        print("it wants your token: with any other address than auto, set RAY_AUTH_MODE=token", flush=True)
    if command:
        program = sys.executable if command[0] == "python" else command[0]
        # to the command, auto is this one
        return subprocess.run(
            [program, *command[1:]], env={**os.environ, "RAY_ADDRESS": address}, check=False
        ).returncode
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
