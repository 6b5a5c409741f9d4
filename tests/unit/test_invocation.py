from pathlib import Path

import pytest

from sweep.request.invocation import FromPython, Invocation, detect


@pytest.mark.parametrize(
    ("original", "argv", "script", "words"),
    [
        (["python", "-m", "sweep", "+model=mlp"], ["/x/sweep/__main__.py"], None, "python -m sweep"),
        ([".venv/bin/python", "-P", "-m", "sweep.compare", "a", "b"], ["/x"], None, ".venv/bin/python -P -m sweep"),
        (["/x/bin/python", "-m", "sweep"], ["/x"], "scripts/sweep", "scripts/sweep"),
        (["/x/bin/python", "/x/bin/sweep", "-m"], ["/x/bin/sweep", "-m"], None, "/x/bin/sweep"),
        (["python", "mine.py", "-m", "model"], ["mine.py", "-m", "model"], None, "python -m sweep"),
        (["python", "-c", "…"], ["-c"], None, "python -m sweep"),
        (["a b/python", "-m", "sweep"], ["/x"], None, "'a b/python' -m sweep"),
    ],
)
def test_how_it_was_started_is_how_it_is_started_again(
    original: list[str], argv: list[str], script: str | None, words: str
) -> None:
    assert detect(original, argv, script).resume("run") == f"{words} resume=run"


def test_a_console_script_on_the_path_goes_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "sweep"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert detect(["python", str(program)], [str(program)]).words == ("sweep",)


def test_other_commands_are_called_as_this_one_was() -> None:
    assert Invocation().rerun("my run", "a-b") == "python -m sweep.rerun 'my run/cells/a-b'"
    assert Invocation(("scripts/sweep",)).rerun("run", "a-b") == "scripts/sweep rerun run/cells/a-b"
    assert Invocation(("sweep",)).command("pick") == "sweep pick"


def test_a_folder_that_hydra_would_not_read_bare_is_quoted_twice() -> None:
    assert Invocation().resume("it's 5") == """python -m sweep 'resume='"'"'it\\'"'"'s 5'"'"''"""


def test_a_program_goes_on_by_itself() -> None:
    assert FromPython().resume("it's") == 'sweep.run(resume="it\'s")'
    assert FromPython().rerun("run", "a-b") == "python -m sweep.rerun run/cells/a-b"
