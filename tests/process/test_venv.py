"""Environments on top of the one that the tests run in, by a real pip."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.wheels import wheel

from sweep.errors import BadEnvironment
from sweep.isolate import venv
from sweep.runtime_environment import Environment

ASK = """
import importlib.metadata, importlib.util, sys
print(sys.prefix, importlib.metadata.version("einops"), importlib.util.find_spec("torch").origin, sep="\\n")
"""


def environment(*packages: str) -> Environment:
    pip = {"packages": list(packages), "pip_install_options": ["--no-index"]}
    return Environment(name="mine", runtime_env={"pip": pip})


@pytest.fixture
def cache(weird_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(weird_path))
    return weird_path / "sweep" / "environments"


def test_it_has_its_own_packages_and_those_below_and_is_made_once(cache: Path, tmp_path: Path) -> None:
    import torch

    asked = environment(str(wheel(tmp_path, "einops", "0.0.1", {"einops.py": ""})))
    python = venv.interpreter(asked)
    said = subprocess.run([python, "-P", "-c", ASK], capture_output=True, text=True, check=True).stdout.splitlines()
    (folder,) = cache.iterdir()
    assert said == [str(folder), "0.0.1", torch.__file__]
    assert Path(python).is_relative_to(folder)
    (folder / "requirements.txt").unlink()  # pip would miss it
    assert venv.interpreter(asked) == python
    assert not (folder / "requirements.txt").exists()
    wheel(tmp_path, "einops", "0.0.1", {"einops.py": "changed = True"})
    assert venv.interpreter(asked) != python
    assert sys.prefix not in python


def test_what_pip_says_is_said_and_nothing_of_it_stays(cache: Path) -> None:
    with pytest.raises(BadEnvironment, match="No matching distribution found for no-such-package"):
        venv.interpreter(environment("no-such-package==1"))
    (folder,) = cache.iterdir()
    assert not (folder / venv.MADE).exists()
    assert not (folder / "lib").exists()


def test_a_cache_that_cannot_be_written_is_said(cache: Path) -> None:
    cache.parent.mkdir()
    cache.touch()
    with pytest.raises(BadEnvironment, match="cannot make it in"):
        venv.interpreter(environment("x"))


def test_only_what_sweep_makes_can_be_entered() -> None:
    with pytest.raises(BadEnvironment, match=r"which Ray makes \(conda\)"):
        venv.enter(Environment(name="c", runtime_env={"conda": "mine"}), [])
