"""Running a sweep from Python: the same steps as from the command line, and a Run as its result."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from sweep import app
from sweep.errors import BadRequest, RunFolderTaken
from sweep.record import RunFolder
from sweep.report.run import Run, load
from sweep.report.terminal import Board
from sweep.request import hydra_grammar
from sweep.request.compose import compose
from sweep.request.hydra_grammar import Names
from sweep.request.invocation import FromPython


def run(  # noqa: PLR0913 - all but two go by name
    models: Names | Mapping[str, Mapping[str, Any]] | None = None,
    conversions: Names | None = None,
    *,
    preset: str | None = None,
    devices: Names | None = None,
    folder: str | Path | None = None,
    config_dir: str | Path | None = None,
    quiet: bool = False,
    options: Mapping[str, Any] | None = None,
    **more: Any,
) -> Run:
    """Do what `python -m sweep` does, and return the run; one that was interrupted has rows that say so.

    `models` are names of configs, or configs by name; `conversions` are names, or `preset` is the name of a preset. Any
    other option is given by its name, as `measure="quick"`; dotted ones go into `options`: `{"limits.memory": 8000}`.
    Where an option takes one value, a list runs each of them: `batch_size=[1, 8]`. `folder` is the run folder (default:
    multirun/<date>/<time>), `config_dir` a folder with configs of your own; with `quiet` nothing is printed. With
    `resume=FOLDER` models may be left out: then the arguments of that sweep are used. `resume="auto"` goes on with the
    sweep in `folder` (default: the newest under multirun/ that asked the same), and starts it where there is none.

    Raises SweepError where the command line would end with an error message; BadRequest holds every problem.
    """
    options = {**(options or {}), **more}
    may_resume = options.get("resume") == "auto"
    resumed = options.get("resume") is not None and not may_resume
    _refuse_contradictions(models, folder, config_dir, options, resumed=resumed)
    named, configs = (list(models), models) if isinstance(models, Mapping) else (models, {})
    arguments = hydra_grammar.command_line(named, conversions, preset, devices, options)
    run_dir = Path(folder) if folder is not None else _new_folder()
    if folder is not None or not (resumed or may_resume):
        arguments.append(f"hydra.sweep.dir={hydra_grammar.literal(run_dir)}")
    with _model_configs(run_dir, configs, anew=not may_resume) as models_dir, _board(quiet=quiet) as board:
        folders = [str(path) for path in (config_dir, models_dir) if path is not None]
        arguments += [f"--config-dir={path}" for path in folders[:1]]
        arguments += [f"hydra.searchpath={hydra_grammar.literal([f'file://{path}'])}" for path in folders[1:]]
        composed = compose(arguments)
        assert composed is not None, "it is None for flags such as --help only"
        app.run(*composed, board)
    return load(composed[1].run_dir)


def _refuse_contradictions(
    models: Any, folder: Any, config_dir: Any, options: Mapping[str, Any], *, resumed: bool
) -> None:
    problems = []
    if isinstance(models, Mapping) and config_dir is not None:
        existing = {path.stem for path in Path(config_dir).glob("model/*.yaml")}
        problems += [
            f"{config_dir} has a model {name!r} too: call one otherwise" for name in sorted(existing & {*models})
        ]
    if models is None and options.get("resume") is None:
        problems.append("which models? Name some, or give their configs by name")
    if resumed and isinstance(models, Mapping):
        problems.append("resume has the configs of its models in its folder: leave models out")
    if isinstance(models, Mapping) and folder is None and options.get("resume") == "auto":
        problems.append("resume='auto' keeps configs of models in the run folder: say in which folder=…")
    if resumed and folder is not None:
        problems.append("resume names the run folder, so folder cannot name another")
    if options.get("dry_run"):
        problems.append("dry_run has no rows to return: the command line shows what would run")
    if problems:
        raise BadRequest(*problems)


def _new_folder() -> Path:
    """A run folder named as the command line names it; sweeps that begin in the same second are numbered."""
    first = Path(f"{datetime.now():multirun/%Y-%m-%d/%H-%M-%S}")
    path, number = first, 1
    while path.exists():
        number += 1
        path = first.with_name(f"{first.name}-{number}")
    return path


@contextmanager
def _model_configs(run_dir: Path, models: Mapping[str, Mapping[str, Any]], *, anew: bool) -> Iterator[Path | None]:
    """A folder for Hydra with a config of each model, None without models. It is in the run folder, for resuming.

    All is removed where no sweep started. Unless `anew`, these very configs may be there already, or some of them.
    Raises BadRequest, RunFolderTaken.
    """
    files = hydra_grammar.model_files(models)
    run_folder, conf = RunFolder(run_dir.absolute()), run_dir.absolute() / "conf"
    if files and (conf.exists() or run_folder.request.exists()) and (anew or not _holds_only(conf, files)):
        taken = conf if conf.exists() else run_folder.request
        raise RunFolderTaken(f"{taken} is there already: folder=… names another run folder")
    if files:
        _write_configs(files, conf / "model")
    try:
        yield conf if files else None
    finally:
        if not run_folder.request.exists():
            if files:
                shutil.rmtree(conf, ignore_errors=True)
            run_folder.discard_unused()


def _holds_only(conf: Path, files: Mapping[str, str]) -> bool:
    """Whether all that is in the folder is these configs, as far as whoever wrote them came."""
    texts = {conf / "model" / f"{name}.yaml": text for name, text in files.items()}
    there = {path for path in conf.rglob("*") if path.is_file()}
    return there <= texts.keys() and all(texts[path].startswith(path.read_text(encoding="utf-8")) for path in there)


def _write_configs(files: Mapping[str, str], folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    except OSError as error:
        raise RunFolderTaken(f"cannot write to {folder}: {error.strerror}") from error


@contextmanager
def _board(*, quiet: bool) -> Iterator[Board]:
    """The listener that shows the progress; a notebook gets plain lines, `quiet` nothing."""
    if not quiet:
        yield Board(Console(highlight=False, force_jupyter=False), FromPython())
        return
    with open(os.devnull, "w") as nowhere:
        yield Board(Console(file=nowhere), FromPython())
