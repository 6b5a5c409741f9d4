"""Virtual environments on top of the one that this process runs in: its packages, but for those that pip puts before.

Where that is a virtual environment itself, Ray's own `pip` would copy it for each sweep, torch and all. These share its
packages, are made once and kept in the cache.
"""

import hashlib
import importlib.metadata
import os
import shlex
import shutil
import site
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from sweep.durable import cache_folder
from sweep.errors import BadEnvironment
from sweep.lock import FolderLock
from sweep.reading import one_line
from sweep.runtime_environment import Environment

MAKE_SECONDS = 3600
"""How long pip may take, or another sweep that makes the same one."""

LOOK_SECONDS = 0.5

INSIDE = "SWEEP_ENVIRONMENT"
"""The variable that names the environment which a process was started in."""

MADE = "made"
"""The file that says that all of it is there."""


def interpreter(environment: Environment) -> str:
    """The path of the Python that has the packages of an environment. The first time they are installed.

    Raises BadEnvironment with what pip says, and where nothing can be written.
    """
    folder = _folder(environment)
    python = folder / "bin" / "python"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(folder)
        ends = time.monotonic() + MAKE_SECONDS
        while held := lock.acquire():
            if time.monotonic() > ends:
                raise BadEnvironment(f"another sweep has been making {folder} for long: {held}")
            time.sleep(LOOK_SECONDS)
        try:
            if not (folder / MADE).exists():
                _make_anew(folder, python, environment)
        finally:
            lock.release()
    except OSError as error:
        raise BadEnvironment(f"cannot make it in {folder}: {error.strerror or error}") from error
    return str(python)


def enter(environment: Environment, arguments: Sequence[str]) -> None:
    """Have this process go on as an interpreter in an environment, with these arguments; nothing where it is that.

    Raises BadEnvironment where it cannot be made, or only Ray can make it.
    """
    if os.environ.get(INSIDE) == environment.name:
        return
    python = environment.runtime_env.get("py_executable", shlex.quote(sys.executable))
    if only_ray := sorted(environment.runtime_env.keys() - {"pip", "py_executable", "env_vars", "config"}):
        raise BadEnvironment(
            f"it ran in the environment {environment.name}, which Ray makes ({', '.join(only_ray)}): go on with its "
            "sweep, and retry= what it was, to run it again"
        )
    if environment.packages:
        python = interpreter(environment)
    command = [*([python] if environment.packages else shlex.split(python)), *arguments]
    try:
        os.execvpe(command[0], command, {**os.environ, **environment.variables, INSIDE: environment.name})
    except OSError as error:
        raise BadEnvironment(f"cannot start {command[0]}: {error.strerror}") from error


def _folder(environment: Environment) -> Path:
    """Where an environment is: another one for other packages, or another environment below it."""
    parts = [
        sys.version,
        sys.prefix,
        *sorted({f"{found.name}=={found.version}" for found in importlib.metadata.distributions()}),
        *(text for requirement in environment.packages for text in (requirement, *_content(requirement))),
        *environment.pip_options,
    ]
    return cache_folder() / "environments" / hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _content(requirement: str) -> Iterator[str]:
    """What is in a file or a folder that a requirement names, or says that it was changed."""
    path = Path(requirement)
    if path.is_file():
        yield hashlib.sha256(path.read_bytes()).hexdigest()
    elif path.is_dir():
        for file in sorted(path.rglob("*")):
            if "__pycache__" not in file.parts:
                found = file.stat()
                yield f"{file} {found.st_size} {found.st_mtime_ns}"


def _make_anew(folder: Path, python: Path, environment: Environment) -> None:
    """Without what an attempt that was cut off has left, and leaving nothing where it fails.

    Raises BadEnvironment, OSError.
    """
    inside = folder / "lib"
    shutil.rmtree(inside, ignore_errors=True)
    try:
        _make(folder, inside, python, environment)
        (folder / MADE).touch()
    except BaseException:
        shutil.rmtree(inside, ignore_errors=True)
        raise


def _make(folder: Path, inside: Path, python: Path, environment: Environment) -> None:
    _run([sys.executable, "-m", "venv", "--without-pip", str(folder)], folder, {})
    packages = next(inside.glob("python*/site-packages"))
    # executed, unlike a line that is a path: so files of this kind in those folders are read, too
    below = f"import site; [*map(site.addsitedir, {_below()!r})]\n"
    (packages / "_below.pth").write_text(below, encoding="utf-8")
    requirements = folder / "requirements.txt"
    requirements.write_text("".join(f"{line}\n" for line in environment.packages), encoding="utf-8")
    variables = dict(environment.variables)
    if _fails([str(python), "-c", "import pip"], folder, variables):
        _run([str(python), "-m", "ensurepip"], folder, variables)
    quiet = ("--disable-pip-version-check", "--no-input")
    install = [str(python), "-m", "pip", "install", *quiet, *environment.pip_options, "-r", str(requirements)]
    _run(install, folder, variables)


def _below() -> list[str]:
    """The folders with the packages of the environment that this process runs in."""
    folders = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()]
    folders += [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    return [folder for folder in dict.fromkeys(folders) if Path(folder).is_dir()]


def _run(command: Sequence[str], folder: Path, variables: dict[str, str]) -> None:
    """Raises BadEnvironment with the errors that it prints, or with its last line."""
    try:
        done = _done(command, folder, variables)
    except subprocess.TimeoutExpired as error:
        raise BadEnvironment(f"{' '.join(command[1:4])} took more than {MAKE_SECONDS} s") from error
    if done.returncode:
        lines = [one_line(line) for line in done.stdout.splitlines() if line.strip()]
        said = [line for line in lines if line.lower().startswith("error")][-2:] or lines[-1:]
        raise BadEnvironment("; ".join(said) or f"{' '.join(command[1:4])} failed with {done.returncode}")


def _fails(command: Sequence[str], folder: Path, variables: dict[str, str]) -> bool:
    return _done(command, folder, variables).returncode != 0


def _done(command: Sequence[str], folder: Path, variables: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env={**os.environ, **variables},
        timeout=MAKE_SECONDS,
        check=False,
        text=True,
        errors="replace",
    )
