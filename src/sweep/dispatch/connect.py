"""What Ray is told when it is connected to: settings, variables, and the code that every worker gets."""

import logging
import os
import secrets
import socket
from collections.abc import Collection, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sweep
from sweep.request.settings import Dispatch

ANSWER_SECONDS = 20
"""How long a cluster may take to answer at all."""

SERVER_DIED = "Starting Ray client server failed"
"""How Ray says that the process which it forked for a client (`ray://`) died at once.

It does so about one time in ten, since Ray forks it while threads of gRPC run (ray-project/ray issue 63202).
"""

TRIES = 4

MOST_BYTES_OF_FOLDER = 107 - len("/sweep-abcdefgh/ray/session_2026-11-28_08-20-13_123456_4194304/sockets/plasma_store")
"""Of a temporary folder, below which Ray names its sockets so: unix(7) has no room for more than 107 bytes."""


NOT_ENDED_BY_RAY = {"RAY_gcs_rpc_server_reconnect_timeout_s": "1000000"}
"""Ray ends a driver, rows or not, a minute after the cluster's control store went away: see `Connection.gone`."""

_TOKEN = secrets.token_hex(32)
"""One for every local Ray of this process, which reads it once."""


@contextmanager
def variables(environment: MutableMapping[str, str], address: str | None, more: Mapping[str, str]) -> Iterator[None]:
    """Inside, the environment has what Ray reads when it starts, for a local one (no address) or a cluster, and `more`.

    Afterwards it is as it was: what else this process starts is none of sweep's.
    """
    wanted = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", **NOT_ENDED_BY_RAY, **more}
    if address is None:
        wanted["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # so it listens to this machine alone
    if address is None and "RAY_AUTH_TOKEN" not in environment:
        # for this Ray alone: left to itself, Ray would leave one in the home, which every later `auto` uses
        wanted["RAY_AUTH_TOKEN"] = _TOKEN
    before = dict(environment)
    environment.update(wanted)
    try:
        yield
    finally:
        restore(environment, before, wanted)


def restore(environment: MutableMapping[str, str], before: Mapping[str, str], more: Collection[str] = ()) -> None:
    """Have what Ray sets, and what else is named, as it was before."""
    named = {*more, "PYTHONBREAKPOINT"}
    ours = [name for name in {**environment, **before} if name.startswith("RAY_") or name in named]
    for name in ours:
        environment.pop(name, None)
    environment.update({name: before[name] for name in ours if name in before})


def init_arguments(options: Dispatch, temporary: Path | None) -> dict[str, Any]:
    """The arguments of `ray.init`; a local one has its sessions in `temporary`."""
    arguments: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    if options.address is None:
        arguments |= {"address": "local", "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        arguments["_temp_dir"] = str(temporary)
        # Ray would end a worker for what its cell holds, and have what it measures yield to all else on the machine
        arguments["_system_config"] = {"memory_monitor_refresh_ms": 0, "worker_niceness": 0}
    else:
        arguments["address"] = options.address
    if environment := _runtime_environment(options):
        arguments["runtime_env"] = environment
    return arguments


def temporary_folder(environment: Mapping[str, str]) -> Path:
    """Where a local Ray is to have its temporary folder, with room for the names of its sockets."""
    own = environment.get("RAY_TMPDIR") or environment.get("TMPDIR") or "/tmp"  # noqa: S108 - as Ray does
    return Path(own if len(os.fsencode(own)) <= MOST_BYTES_OF_FOLDER else "/tmp")  # noqa: S108 - its default


def _runtime_environment(options: Dispatch) -> dict[str, Any]:
    """What every worker is given: the user's code, and this very sweep on the nodes of a cluster."""
    environment = dict(options.runtime_env)
    if options.working_dir:
        environment["working_dir"] = options.working_dir
    modules = list(options.py_modules)
    if options.address is not None:
        modules.append(str(Path(sweep.__file__).parent))
        variables = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", **environment.get("env_vars", {})}
        environment["env_vars"] = variables  # without it a worker that was given no GPU could not see if there is one
    if modules:
        environment["py_modules"] = modules
    return environment


def shipped_from(options: Dispatch) -> str | None:
    """The folder on this machine that workers get a copy of to work in, if there is one."""
    folder = options.working_dir
    return str(Path(folder).expanduser().absolute()) if folder and "://" not in folder else None


def check_that_somebody_listens(address: str | None, seconds: float = ANSWER_SECONDS) -> None:
    """Raise OSError if nobody listens at an address: Ray would find that out only after minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=seconds).close()
