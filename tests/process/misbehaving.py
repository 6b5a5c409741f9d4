"""Models that fail in every way a process can."""

import atexit
import ctypes
import fcntl
import json
import mmap
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch


class Misbehaving(torch.nn.Module):
    """A linear layer whose constructor, first call or every call does what `how` says."""

    def __init__(self, how: str, marker: str = "") -> None:
        super().__init__()
        self.how, self.marker, self.called = how, marker, False
        self.layer = torch.nn.Linear(8, 4)
        if how in WHEN_BUILT:
            WHEN_BUILT[how](self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.how in WAYS and not self.called:
            self.called = True
            WAYS[self.how](self)
        began = time.monotonic()
        output: torch.Tensor = self.layer(x)
        if self.how == "tell each call":
            with open(self.marker, "a") as marker:
                marker.write(f"{os.getpid()} {began} {time.monotonic()}\n")
        if self.how == "give what cannot be read":
            return (part for part in [output])  # type: ignore[return-value]
        return output


def _raise(error: BaseException) -> None:
    raise error


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


def _raise_what_cannot_be_pickled(model: Misbehaving) -> None:
    class Local(Exception):
        def __reduce__(self) -> str:
            raise TypeError("cannot be pickled")

    raise Local(lambda: model)


def _recurse(model: Misbehaving) -> None:
    _recurse(model)


def _bus_error(model: Misbehaving) -> None:
    with tempfile.TemporaryFile() as file:
        file.truncate(mmap.PAGESIZE)
        window = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        file.truncate(0)
        window[0]


def _illegal_instruction(model: Misbehaving) -> None:
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write({"x86_64": b"\x0f\x0b", "aarch64": b"\x00\x00\x00\x00"}[os.uname().machine])
    ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()


def _segfault_in_a_thread(model: Misbehaving) -> None:
    thread = threading.Thread(target=ctypes.string_at, args=(0,))
    thread.start()
    thread.join()


def _descriptors() -> list[int]:
    listed = [int(entry.name) for entry in Path("/proc/self/fd").iterdir() if int(entry.name) > 2]
    return [n for n in listed if Path(f"/proc/self/fd/{n}").is_symlink()]  # not that which the list was read from


def _pipes() -> list[int]:
    """Those that can be written to, the report's among them."""
    pipes = [n for n in _descriptors() if _leads_to(n).startswith("pipe:")]
    return [n for n in pipes if fcntl.fcntl(n, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY]


def _leads_to(descriptor: int) -> str:
    try:
        return str(Path(f"/proc/self/fd/{descriptor}").readlink())
    except OSError:
        return ""


def _report(data: bytes) -> None:
    for descriptor in _pipes():
        rest = data
        while rest:
            rest = rest[os.write(descriptor, rest) :]


def _half_a_report(model: Misbehaving) -> None:
    _report(b'{"evidence": {"eager": {"samples": [0.1, 0.')
    os._exit(0)


def _flood_the_report(model: Misbehaving) -> None:
    line = json.dumps({"evidence": {"versions": {"padding": "x" * 1_000_000}}}).encode() + b"\n"
    for _ in range(100):
        _report(line)


def _report_what_cannot_be_written(model: Misbehaving) -> None:
    _report(
        b'{"evidence": {"node": "a\\ud800b\\u001b[2Jc", "gpu_free": NaN, "deep": ' + b"[" * 500 + b"]" * 500 + b"}}\n"
    )
    _report(b'{"evidence": {"gpu_free": ' + b"1" * 400 + b"}}\n")


FREEZER = Path("/sys/fs/cgroup/freezer")
"""Version 1's: what is frozen there does not die of a KILL until it is thawed, as what waits for a dead disk."""


def _freeze_itself(model: Misbehaving) -> None:
    group = FREEZER / f"sweep-{os.getpid()}"
    group.mkdir()
    Path(model.marker).write_text(str(group))
    (group / "cgroup.procs").write_text(str(os.getpid()))
    (group / "freezer.state").write_text("FROZEN")


def _leave_shared_memory(model: Misbehaving) -> None:
    block = Path(f"/dev/shm/torch_{os.getpid()}_1_0")
    block.write_text("nobody will want it")
    Path(os.environ["SWEEP_TEST_PUTS"]).write_text("as somebody else might put there just now")
    Path(model.marker).write_text(str(block))


def _ask_without_end(model: Misbehaving) -> None:
    _report(b'{"turn": "leave"}\n{"turn": "ask"}\n' * 40_000)


def _stop_its_zygote(model: Misbehaving) -> None:
    os.kill(os.getppid(), signal.SIGSTOP)


def _flood_stdout(model: Misbehaving) -> None:
    os.write(1, b"the first line\n")
    for _ in range(300):
        os.write(1, b"noise \xff\x1b[2J" * 100_000)
    os.write(1, b"\nthe last line\n")


def _ignore_term(model: Misbehaving) -> None:
    for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    if model.marker:
        Path(model.marker).touch()
    time.sleep(1000)


def _hold_the_gil(model: Misbehaving) -> None:
    while True:  # a signal ends a sleep
        ctypes.PyDLL(None).sleep(1000)


def _spin(model: Misbehaving) -> None:
    while True:
        pass


def _leave_a_grandchild(model: Misbehaving, *, session: bool = False) -> None:
    grandchild = subprocess.Popen(["sleep", "1000"], start_new_session=session)
    grandchild.returncode = 0  # nobody waits for it
    Path(model.marker).write_text(str(grandchild.pid))


def _leave_a_daemon(model: Misbehaving) -> None:
    """Fork twice in a session of its own: it is nobody's child then, and in nobody's group."""
    if not os.fork():
        os.setsid()
        if daemon := os.fork():
            aside = Path(f"{model.marker}.aside")
            aside.write_text(str(daemon))
            aside.rename(model.marker)  # whoever sees it can read it
            os._exit(0)
        for descriptor in (*_descriptors(), 0, 1, 2):
            os.close(descriptor)
        time.sleep(1000)
    while not Path(model.marker).exists():
        time.sleep(0.01)


def _then(first: Callable[["Misbehaving"], object], second: Callable[["Misbehaving"], object]) -> Callable[..., object]:
    return lambda model: (first(model), second(model))


def _fork_bomb(model: Misbehaving) -> None:
    """Six generations, each process with two children: 127 of them, in 127 sessions."""
    for _ in range(6):
        for _ in range(2):
            if not os.fork():
                os.setsid()
                break
        else:
            break
    time.sleep(1000)


def _hog(model: Misbehaving, step: int, pause: float) -> None:
    held = []
    while True:
        held.append(bytearray(os.urandom(1000) * (step // 1000)))
        time.sleep(pause)


def _fill_its_quota(model: Misbehaving) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    Path("big").write_bytes(b"x" * 2_000_000)


def _close_its_pipes(model: Misbehaving) -> None:
    for descriptor in _pipes():
        os.close(descriptor)


def _kill_the_supervisor(model: Misbehaving) -> None:
    zygote = os.getppid()
    supervisor = int(Path(f"/proc/{zygote}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(supervisor, signal.SIGKILL)
    time.sleep(1000)


def _kill_the_zygote(model: Misbehaving) -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(1000)


def _tell_environment(model: Misbehaving) -> None:
    Path(model.marker).write_text("\n".join([str(Path.cwd()), *(f"{k}={v}" for k, v in os.environ.items())]))


def _count_processes(model: Misbehaving) -> None:
    """Add this process's id to the marker."""
    with open(model.marker, "a") as marker:
        marker.write(f"{os.getpid()} ")


def _count_and_raise(model: Misbehaving) -> None:
    _count_processes(model)
    raise ValueError("as always")


def _segfault_in_the_third_process(model: Misbehaving) -> None:
    _count_processes(model)
    if len(Path(model.marker).read_text().split()) == 3:
        ctypes.string_at(0)


def _wait_for_company(model: Misbehaving) -> None:
    _count_processes(model)
    while len(Path(model.marker).read_text().split()) < 2:
        time.sleep(0.01)


def _hold_its_turn(model: Misbehaving) -> None:
    Path(model.marker).touch()
    time.sleep(5)


def _hang(model: Misbehaving) -> None:
    time.sleep(1000)


def _segfault(model: Misbehaving) -> None:
    ctypes.string_at(0)


WHEN_BUILT: dict[str, Callable[[Misbehaving], object]] = {
    "constructor raises": lambda model: _raise(ValueError("cannot be built")),
    "constructor hangs": _hang,
    "wait for company": _wait_for_company,
}
WAYS: dict[str, Callable[[Misbehaving], object]] = {
    "well": lambda model: None,
    "raise": lambda model: _raise(RuntimeError("raise on purpose")),
    "raise without words": lambda model: _raise(Unprintable()),
    "raise what cannot be pickled": _raise_what_cannot_be_pickled,
    "raise an interrupt": lambda model: _raise(KeyboardInterrupt()),
    "recurse": _recurse,
    "segfault": _segfault,
    "segfault once": _segfault,  # until a test mends it
    "segfault in a thread": _segfault_in_a_thread,
    "segfault in the third process": _segfault_in_the_third_process,
    "segfault after a good report": lambda model: atexit.register(_segfault, model),
    "abort": lambda model: os.abort(),
    "bus error": _bus_error,
    "illegal instruction": _illegal_instruction,
    "divide by zero": lambda model: os.kill(os.getpid(), signal.SIGFPE),
    "kill itself": lambda model: os.kill(os.getpid(), signal.SIGKILL),
    "kill its group": lambda model: os.kill(0, signal.SIGKILL),
    "terminate itself": lambda model: os.kill(os.getpid(), signal.SIGTERM),
    "stop itself": lambda model: os.kill(os.getpid(), signal.SIGSTOP),
    "sys.exit": lambda model: sys.exit(7),
    "os._exit": lambda model: os._exit(0),
    "exit 1 after a good report": lambda model: atexit.register(os._exit, 1),
    "hang": _hang,
    "hold its turn": _hold_its_turn,
    "take two seconds": lambda model: time.sleep(2),
    "hang when done": lambda model: atexit.register(_hang, model),
    "ignore TERM": _ignore_term,
    "hold the GIL": _hold_the_gil,
    "spin": _spin,
    "leave a grandchild": _leave_a_grandchild,
    "leave a grandchild in a session of its own": lambda model: _leave_a_grandchild(model, session=True),
    "leave a daemon": _leave_a_daemon,
    "leave a daemon and crash": _then(_leave_a_daemon, _segfault),
    "leave a grandchild and hang": _then(_leave_a_grandchild, _hang),
    "fork bomb": _fork_bomb,
    "hog memory slowly": lambda model: _hog(model, 50_000_000, 0.02),
    "hog memory at once": lambda model: _hog(model, 2_000_000_000, 0.0),
    "ask for too much memory": lambda model: torch.empty(1 << 48),
    "fill its quota": _fill_its_quota,
    "kill the supervisor": _kill_the_supervisor,
    "kill the zygote": _kill_the_zygote,
    "leave a daemon and kill the zygote": _then(_leave_a_daemon, _kill_the_zygote),
    "half a report": _half_a_report,
    "report garbage": lambda model: _report(
        b'{"evidence": 3}\n[]\nnot json\n{"phase": "nowhere"}\n{"evidence": {"seconds": 1}}\n'
        b'{"phase": "eager", "at": []}\n{"phase": "eager", "at": "noon"}\n{"turn": {}}\n'
    ),
    "report nonsense": lambda model: _report(b'{"evidence": {"engine": "eager", "eager": {"samples": "many"}}}\n'),
    "report without end": _flood_the_report,
    "report what cannot be written": _report_what_cannot_be_written,
    "ask without end": _ask_without_end,
    "freeze itself": _freeze_itself,
    "stop its zygote": _stop_its_zygote,
    "leave shared memory and crash": _then(_leave_shared_memory, _segfault),
    "leave shared memory and kill the zygote": _then(_leave_shared_memory, _kill_the_zygote),
    "print": lambda model: print("noise\x1b[2J" * 1000),
    "print without end": _flood_stdout,
    "tell environment": _tell_environment,
    "count processes": _count_processes,
    "count and raise": _count_and_raise,
    "read stdin": lambda model: sys.stdin.read(),
    "delete its folder": lambda model: shutil.rmtree(Path.cwd().parent),
    "change its folder": lambda model: os.chdir("/"),
    "close its report": _close_its_pipes,
}
