"""Whenever a sweep is asked to end, its keeper ends with 3, and starts nothing again."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

WHILE_IT_FORKS = """
import os, signal, sys
from sweep import keeper
fork = os.fork
def fork_and_be_asked():
    if not (child := fork()):
        os.kill(os.getpid(), int(sys.argv[1]))
    return child
os.fork = fork_and_be_asked
sys.exit(keeper.run([], lambda arguments: 0))
"""

BETWEEN_TWO = """
import os, signal, sys
from sweep import keeper, reaper
def end_all_and_be_asked(**_):
    os.kill(os.getpid(), int(sys.argv[1]))
reaper.end_all = end_all_and_be_asked
def work(arguments):
    if not os.path.exists("there"):
        open("there", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return 3 if keeper.ends_only() else 0
sys.exit(keeper.run([], work))
"""

AFTERWARDS = """
import os, signal, sys
from sweep import keeper
wait = keeper._wait_for
def wait_and_be_asked(child):
    status = wait(child)
    os.kill(os.getpid(), int(sys.argv[1]))
    return status
keeper._wait_for = wait_and_be_asked
sys.exit(keeper.run([], lambda arguments: 3))
"""


def code_of(program: str, number: int, folder: Path) -> int:
    command = [sys.executable, "-c", program, str(int(number))]
    return subprocess.run(command, cwd=folder, check=False).returncode


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("program", [WHILE_IT_FORKS, BETWEEN_TWO, AFTERWARDS])
def test_a_signal_at_an_unlucky_moment_is_heard_as_any_other(program: str, number: int, tmp_path: Path) -> None:
    assert code_of(program, number, tmp_path) == 3


def test_a_hang_up_that_is_ignored_ends_nothing(tmp_path: Path) -> None:
    ignoring = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    assert code_of(ignoring + BETWEEN_TWO, signal.SIGHUP, tmp_path) == 0


@pytest.mark.parametrize("closed", ["<&- >&-", "<&- >&- 2>&-"])
def test_what_a_sweep_prints_is_not_taken_for_how_it_ended(closed: str) -> None:
    program = "import sys; from sweep import keeper; sys.exit(keeper.run([], lambda arguments: print('1/2 ok') or 3))"
    ran = subprocess.run(["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, program], check=False)
    assert ran.returncode == 3


OTHERS = """
import os, signal, subprocess, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
mine = subprocess.Popen(["sleep", "600"])
from sweep import keeper
def work(arguments):
    if not os.path.exists("there"):
        open("there", "w").close()
        open("started", "w").write(str(subprocess.Popen(["sleep", "600"]).pid))
        os.kill(os.getpid(), signal.SIGKILL)
    return 0
code = keeper.run([], work)
alive = [os.path.exists(f"/proc/{pid}") for pid in (mine.pid, int(open("started").read()))]
mine.kill()
sys.exit(code if alive == [True, False] else 1)
"""


def test_what_was_there_before_a_sweep_outlives_it_and_children_are_heard_that_were_ignored(tmp_path: Path) -> None:
    """As where a script starts something, and then becomes the sweep."""
    assert subprocess.run([sys.executable, "-c", OTHERS], cwd=tmp_path, check=False, timeout=60).returncode == 0


WAITS = """
import sys, time
from sweep import keeper
def work(arguments):
    print("begun", flush=True)
    time.sleep(600)
    return 0
sys.exit(keeper.run([], work))
"""


def test_a_terminal_that_goes_away_ends_a_sweep_whose_keeper_is_the_first_of_its_session() -> None:
    """As where a terminal emulator or ssh runs it instead of a shell."""
    keeper, terminal = pty.fork()
    if not keeper:
        os.execv(sys.executable, [sys.executable, "-c", WAITS])
    assert b"begun" in os.read(terminal, 1000)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(keeper, 0)[1]) == 3
