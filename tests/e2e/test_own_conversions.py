"""Conversions that are not alma's: named in a configuration, or registered by an installed package."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import QUICKLY, Sweep

CODE = """
import torch

def channels_last(model, data):
    return model.to(memory_format=torch.channels_last).forward

channels_last.sweep = {"engine": "eager"}

class Remembers:
    def __init__(self, model, data):
        self.answer = model(data)
    def __call__(self, x):
        return self.answer

def nothing(model, data):
    return None
"""
REGISTER = """
MINE: {target: mine.channels_last, engine: eager}
BY_INDUCTOR: {target: mine.channels_last, engine: inductor}
REMEMBERS: {target: mine.Remembers}
NOTHING: {target: mine.nothing}
ON_A_GPU: {target: mine.channels_last, runs_on: [cuda]}
ELSEWHERE: {target: mine.channels_last, needs: [torch-xla]}
"""


@pytest.fixture
def own(weird_path: Path) -> Path:
    (weird_path / "mine.py").write_text(CODE)
    (weird_path / "conf" / "register").mkdir(parents=True)
    (weird_path / "conf" / "register" / "mine.yaml").write_text(REGISTER)
    return weird_path


@pytest.mark.slow
def test_a_conversion_of_ones_own_is_isolated_attested_and_compared_like_almas(sweep: Sweep, own: Path) -> None:
    names = "conversion=EAGER,MINE,BY_INDUCTOR,REMEMBERS,NOTHING,ON_A_GPU,ELSEWHERE,MINNE"
    ran = sweep("--config-dir", "conf", "+register=mine", "+model=mlp", names, "dispatch=serial", *QUICKLY)
    assert ran.code == 0, ran.err
    assert ran.statuses() == {
        "EAGER": "ok",
        "MINE": "ok",
        "BY_INDUCTOR": "mismatch/engine",
        "REMEMBERS": "mismatch/output",
        "NOTHING": "crashed/raised",
        "ON_A_GPU": "skipped/needs-device",
        "ELSEWHERE": "skipped/needs-package",
        "MINNE": "invalid/unknown-conversion",
    }
    rows = ran.rows
    assert rows["MINE"]["engine"]["actual"] == "eager"
    assert rows["MINE"]["fidelity"]["rel_l2"] < 1e-6
    assert "asked for inductor, ran eager" in rows["BY_INDUCTOR"]["message"]
    assert "mine.nothing returned NoneType, which cannot be called" in rows["NOTHING"]["message"]
    assert "did you mean MINE?" in rows["MINNE"]["message"]
    cell = ran.run / "cells" / rows["MINE"]["id"]
    again = [sys.executable, "-m", "sweep.rerun", cell]
    ended = subprocess.run(again, cwd="/", capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize(
    ("registered", "said"),
    [
        ("+register.EAGER={target:mine.f}", "register: EAGER: there is a conversion of that name already"),
        ("+register.X={target:mine.f,engine:inductr}", "unknown engine 'inductr': did you mean inductor or"),
        ("+register.X={target:mine}", "target must be a dotted path"),
        ("+register.X={targt:mine.f}", "unknown option register.X.targt: did you mean target?"),
        ("+register.X={target:mine.f,needs:[onx]}", "unknown requirement 'onx'"),
    ],
)
def test_a_registration_that_is_none_runs_nothing(sweep: Sweep, own: Path, registered: str, said: str) -> None:
    ran = sweep("+model=mlp", "conversion=EAGER", registered)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err


@pytest.mark.slow
def test_what_an_installed_package_registers_is_there_unasked(
    sweep: Sweep, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "site" / "mine-1.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[sweep.conversions]\nFROM_A_PACKAGE = mine:channels_last\n")
    (own / "mine.py").rename(installed.parent / "mine.py")
    monkeypatch.setenv("PYTHONPATH", str(installed.parent))
    command = [sys.executable, "-m", "sweep.modes", "--json"]
    listed = json.loads(subprocess.run(command, cwd="/", capture_output=True, text=True, check=True).stdout)
    (mode,) = [mode for mode in listed if mode["name"] == "FROM_A_PACKAGE"]
    assert (mode["engine"], mode["source"], mode["runs_here"]) == ("eager", "entry point", True)
    ran = sweep("+model=mlp", "conversion=FROM_A_PACKAGE", "dispatch=serial", *QUICKLY)
    assert ran.statuses() == {"FROM_A_PACKAGE": "ok"}, ran.err
