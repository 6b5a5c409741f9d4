import json
from pathlib import Path
from typing import Any

import pytest

from sweep import modes
from sweep.errors import BadEnvironment
from sweep.isolate import survey


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "sweep"


def test_the_installed_alma_registers_what_the_unit_tests_rest_on(
    empty_cache: Path, surveyed: list[dict[str, Any]]
) -> None:
    survey.local()
    (file,) = empty_cache.iterdir()
    assert json.loads(file.read_text())["modes"] == surveyed


def test_the_survey_is_remembered_until_something_changes(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = survey.local()
    monkeypatch.setattr(survey, "survey", lambda _: pytest.fail("asked again"))
    assert survey.local() == first
    (file,) = empty_cache.iterdir()
    file.write_text("torn")
    with pytest.raises(pytest.fail.Exception):
        survey.local()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    with pytest.raises(pytest.fail.Exception):
        survey.local()


def test_an_environment_without_alma_is_said_with_what_to_do(
    empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken" / "alma"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise ImportError('alma is broken')")
    monkeypatch.setenv("PYTHONPATH", str(broken.parent))
    with pytest.raises(BadEnvironment, match="pip install") as error:
        survey.local()
    assert "alma is broken" in str(error.value)


def test_modes_lists_all_with_what_keeps_them_from_running(
    empty_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert modes.main(["--json"]) == 0
    listed = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert len(listed) == 72
    assert listed["EAGER"]["runs_here"] is True
    assert listed["OPTIMIM_QUANTO_Wf8E5M2+COMPILE_CUDAGRAPHS"]["implemented"] is False
    assert any("tvm.relay" in obstacle for obstacle in listed["COMPILE_TVM"]["obstacles"])
    assert sum(entry["runs_here"] for entry in listed.values()) >= 45
    assert modes.main([]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in listed)
    assert "\x1b" not in text
