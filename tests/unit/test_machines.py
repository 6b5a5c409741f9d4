"""Machines that lack something, or have it otherwise."""

import errno
import os
import pwd
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from sweep import durable
from sweep.dispatch import connect
from sweep.errors import BadEnvironment, BadRequest
from sweep.isolate import environment, host
from sweep.request.misleading import as_text
from sweep.request.settings import Dispatch


def test_this_machine_will_do() -> None:
    host.refuse_unfit()


def test_another_system_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.delattr(os, "pidfd_open")
    with pytest.raises(
        BadEnvironment, match=r"cells run on Linux only, and this is darwin: .*dispatch\.address="
    ) as said:
        host.refuse_unfit()
    assert "\n" not in str(said.value)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM])
def test_an_old_kernel_without_proc_lacks_two_things(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int
) -> None:
    def pidfd_open(pid: int) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pidfd_open", pidfd_open)
    with pytest.raises(BadEnvironment) as said:
        host.refuse_unfit(proc=tmp_path)
    assert str(said.value) == (
        f"no cell can be watched here, for this machine lacks {tmp_path}, where processes are listed: mount it; and "
        f"pidfd_open, by which the end of a process is seen ({os.strerror(number)}): use Linux 5.3 or newer, and in a "
        "container a seccomp profile that allows it"
    )


def test_a_python_built_without_it_lacks_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    with pytest.raises(BadEnvironment, match=r"pidfd_open, .*this Python was built without it"):
        host.refuse_unfit()


def test_a_kernel_that_lists_no_children(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "stat").touch()
    with pytest.raises(BadEnvironment, match=r"lists of children in .*CONFIG_PROC_CHILDREN"):
        host.refuse_unfit(proc=tmp_path)


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user of whom only the number is known, and the temporary folder."""

    def getpwuid(number: int) -> pwd.struct_passwd:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr(pwd, "getpwuid", getpwuid)
    for name in ("HOME", "USER", "LOGNAME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    durable._made_home.cache_clear()
    return tmp_path


def test_a_user_without_a_home_gets_one(nobody: Path) -> None:
    home = nobody / f"sweep-home-{os.getuid()}"
    assert durable.cache_folder() == home / ".cache" / "sweep"
    assert home.stat().st_mode & 0o777 == 0o700
    seen = environment.allowed({"PATH": "/bin"}, (), ())
    assert (seen["HOME"], seen["USER"]) == (str(home), f"uid-{os.getuid()}")
    assert environment.allowed({"HOME": "/mine", "USER": "me"}, (), ())["HOME"] == "/mine"


@pytest.mark.parametrize("kind", ["link", "file"])
def test_what_another_has_put_there_is_not_taken_for_it(nobody: Path, kind: str) -> None:
    taken = nobody / f"sweep-home-{os.getuid()}"
    if kind == "link":
        (nobody / "elsewhere").mkdir()
        taken.symlink_to(nobody / "elsewhere")
    else:
        taken.touch()
    assert durable.home() != taken
    assert durable.home().parent == nobody
    assert durable.home() == durable.home()


def test_a_user_that_the_machine_knows_sees_what_was_there() -> None:
    assert not {"HOME", "USER"} & environment.allowed({"PATH": "/bin"}, (), ()).keys()


def test_a_folder_with_a_colon_is_not_two(tmp_path: Path) -> None:
    seen = environment.allowed({"PYTHONPATH": "/theirs"}, (), ("/mine", "/a:b"))
    assert seen["PYTHONPATH"].split(":") == ["/mine", "/theirs"]


def test_what_is_no_utf_8_gets_its_row_unless_it_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    bad = os.fsdecode(b"m\xff")
    assert as_text(["+model=mlp", f"conversion={bad}"]) == ["+model=mlp", "conversion=m?"]
    with pytest.raises(BadRequest) as said:
        as_text([f"hydra.sweep.dir={bad}", "--config-dir", bad, f"--config-dir={bad}", f"resume={bad}"])
    assert len(said.value.problems) == 4
    assert said.value.problems[0] == ("the name of this folder is no UTF-8: hydra.sweep.dir=m?; give it another name")


def test_where_no_file_of_hydra_can_be_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / os.fsdecode(b"m\xff")
    folder.mkdir()
    monkeypatch.chdir(folder)
    with pytest.raises(BadRequest, match=r"the name of this folder is no UTF-8: .*m\?; start sweep in another one"):
        as_text([])
    folder.rmdir()
    with pytest.raises(BadRequest, match="this folder was removed meanwhile"):
        as_text([])


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_sockets_of_a_local_ray_have_room_for_their_names(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for other in ("TMPDIR", "RAY_TMPDIR"):
        monkeypatch.delenv(other, raising=False)
    assert connect.temporary_folder(os.environ) == Path("/tmp")
    monkeypatch.setenv(name, "/t" * 12)  # so that the longest name, of a socket, has 107 bytes
    assert connect.temporary_folder(os.environ) == Path("/t" * 12)
    monkeypatch.setenv(name, "/t" * 12 + "/")
    assert connect.temporary_folder(os.environ) == Path("/tmp")
    assert connect.init_arguments(Dispatch(), Path("/a/b"))["_temp_dir"] == "/a/b"
    assert "_temp_dir" not in connect.init_arguments(Dispatch(address="auto"), None)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- 2>&-", "<&- >&- 2>&-"])
def test_files_do_not_become_standard_streams(tmp_path: Path, closed: str) -> None:
    code = (
        "import os, subprocess, sys; from sweep.streams import open_closed_ones; open_closed_ones()\n"
        "with open('file', 'w') as file:\n"
        "    print(file.fileno() > 2, all(os.get_inheritable(number) for number in range(3)), file=file, flush=True)\n"
        "    os.write(1, b'out'), os.write(2, b'err'), print('out'), print('err', file=sys.stderr)\n"
        "    print(repr(sys.stdin.read()), file=file, flush=True)\n"
        "    subprocess.run(['sh', '-c', 'echo out; echo err >&2'], check=True)\n"
    )
    command = 'exec "$0" -c "$1" ' + ("</dev/null " if "<" not in closed else "") + closed
    subprocess.run(["sh", "-c", command, sys.executable, code], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "file").read_text() == "True True\n''\n"
