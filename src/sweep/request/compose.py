"""From the command line to plain requests; the only file that knows Hydra and OmegaConf."""

import os
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import sweep
from sweep.cell import PLAIN, Request
from sweep.errors import BadRequest
from sweep.plan.names import did_you_mean, near
from sweep.record import RunFolder
from sweep.request import environments, read
from sweep.request.misleading import as_text, by_its_name_now, refuse_misleading
from sweep.request.nested import at, unlike
from sweep.request.resume import resumed_arguments
from sweep.request.settings import Settings
from sweep.request.unseen import refuse_unseen


def conf_dir() -> Path:
    """The folder of the shipped configuration: inside an installed package, beside `src/` in a checkout."""
    package = Path(sweep.__file__).resolve().parent
    return package / "conf" if (package / "conf").is_dir() else package.parents[1] / "conf"


def compose(arguments: Sequence[str]) -> tuple[list[Request], Settings] | None:
    """The requests and settings that the arguments ask for; None if they asked for help or the configuration.

    Raises BadRequest with every problem that was found.
    """
    arguments = list(map(by_its_name_now, as_text(arguments)))
    arguments = resumed_arguments(arguments, lambda earlier: _parse(_parse_flags(earlier).overrides))
    with _placeholders_for_unknown_names() as add_placeholder:
        argv, swept_values = _hydra_arguments(arguments)
        jobs = _Jobs(arguments, swept_values)
        known_missing: set[str] = set()
        while missing := _missing_config(lambda: _run_hydra(jobs.collect, argv)):
            name = str(missing.missing_cfg_file)
            _refuse_unless_replaceable(missing, jobs.problems, again=name in known_missing)
            known_missing.add(name)
            add_placeholder(missing)
            jobs.start_over()
    try:
        return jobs.checked(needed=not _asks_for_no_job(arguments))
    except BadRequest:
        for folder in jobs.folders:
            RunFolder(folder).discard_unused()
        raise


class _Jobs:
    """The requests and settings of all jobs that Hydra makes of a grid, and the problems with them."""

    def __init__(self, arguments: Sequence[str], swept_values: Mapping[str, Sequence[str]]) -> None:
        self._arguments, self._swept_values = arguments, swept_values
        self._requests: list[Request] = []
        self._settings: list[Settings] = []
        self.problems: list[str] = []
        self.folders: set[Path] = set()

    def collect(self, config: DictConfig) -> None:
        """Add the requests and settings of one job, or its problems."""
        self.folders.add(Path(HydraConfig.get().runtime.output_dir))
        try:
            requests, settings = _read(config, self._arguments, self._swept_values)
        except BadRequest as error:
            self.problems.extend(problem for problem in error.problems if problem not in self.problems)
        else:
            self._requests.extend(requests)
            self._settings.append(settings)

    def start_over(self) -> None:
        """Drop what was collected: the grid is composed again."""
        self._requests.clear()
        self._settings.clear()

    def checked(self, *, needed: bool) -> tuple[list[Request], Settings] | None:
        """All requests, and the settings that their jobs share; None where there was no job, and none is `needed`.

        Raises BadRequest.
        """
        if not self._requests and needed and not self.problems:
            self.problems.append("Hydra ran no job in this process: is its launcher or sweeper another than its own?")
        if self.problems:
            raise BadRequest(*self.problems)
        if not self._requests:
            return None
        first, *more = self._settings
        if any(settings != first for settings in more):
            raise BadRequest(f"{', '.join(sorted(read.WHOLE_SWEEP))} hold for a whole sweep and cannot be swept over")
        read.refuse_if_nothing_is_known(self._requests)
        given = [override.key_or_group for override in _parse(_parse_flags(self._arguments).overrides)]
        refuse_unseen(os.environ, self._requests, given)
        return self._requests, first


def _parse_flags(arguments: Sequence[str]) -> Any:
    parser = get_args_parser()
    parser.prog = "python -m sweep"
    return parser.parse_intermixed_args(list(arguments))


def _asks_for_no_job(arguments: Sequence[str]) -> bool:
    """Whether Hydra was asked to show something, and to run nothing."""
    flags = _parse_flags(arguments)
    showing = ("help", "hydra_help", "version", *_SHOW_A_JOB, "show_defaults_tree", "shell_completion")
    return any(getattr(flags, name, None) for name in showing)


_SHOW_A_JOB = ("cfg", "info")
"""Flags of Hydra's that show something of one job."""


def _hydra_arguments(arguments: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """The arguments for Hydra, and the values of the plain options that are swept over.

    Hydra takes a tenth of a second for each job, so it gets as few as possible: it is given conversions as one list,
    and of a plain option only the first value. --multirun is added where something else is swept over.
    """
    flags = _parse_flags(arguments)
    overrides = _parse(flags.overrides)
    refuse_misleading(overrides, flags.config_dir, conf_dir())
    swept = [override for override in overrides if override.is_sweep_override()]
    swept_values = {
        override.key_or_group: list(override.sweep_string_iterator())
        for override in swept
        if override.key_or_group in PLAIN
    }
    replacements = {
        str(override.input_line): f"{override.key_or_group}={swept_values[override.key_or_group][0]}"
        for override in swept
        if override.key_or_group in swept_values
    }
    replacements |= {
        line: f"conversion=[{line.partition('=')[2]}]"
        for override in swept
        if override.key_or_group == "conversion" and override.value_type is ValueType.SIMPLE_CHOICE_SWEEP
        if (line := str(override.input_line))
    }
    # Hydra's own parser wants all overrides on one side of the flags
    flags_only = [argument for argument in arguments if argument not in flags.overrides]
    argv = [*flags_only, *(replacements.get(override, override) for override in flags.overrides)]
    if not any(override.key_or_group == "hydra.sweep.dir" for override in overrides):
        # Hydra would take the time anew each time a grid is composed again
        argv.append(f"hydra.sweep.dir={datetime.now():multirun/%Y-%m-%d/%H-%M-%S}")
    is_grid = any(override.input_line not in replacements for override in swept)
    showing = [f"--{name}" for name in _SHOW_A_JOB if getattr(flags, name)]
    if showing and (is_grid or flags.multirun):
        raise BadRequest(f"{showing[0]} shows one job: give no --multirun, and one value each instead of a,b")
    return [*argv, "--multirun"] if is_grid and not flags.multirun else argv, swept_values


def _parse(overrides: Sequence[str]) -> list[Override]:
    parsed, problems = [], []
    for override in overrides:
        try:
            parsed += OverridesParser.create().parse_overrides([override])
        except HydraException as error:
            problems.append(f"cannot read the override {override!r}: {str(error).splitlines()[0]}")
    if problems:
        raise BadRequest(*problems)
    return parsed


def _run_hydra(collect: Any, argv: list[str]) -> None:
    before, sys.argv = sys.argv, ["python -m sweep", *argv]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # so that Hydra raises instead of printing and exiting
    try:
        hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(collect)()
    except SystemExit as ended:  # how Hydra ends after its help
        if ended.code:
            raise
    finally:
        sys.argv = before
        del os.environ["HYDRA_FULL_ERROR"]


def _missing_config(action: Any) -> MissingConfigException | None:
    """The missing config that stopped `action`; None if nothing did. Raises BadRequest for anything else."""
    try:
        action()
    except MissingConfigException as error:
        return error
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise BadRequest(" ".join(_first_lines(error))) from error
    except OSError as error:
        raise BadRequest(f"cannot make the run folder: {error.strerror} ({error.filename})") from error
    return None


def _first_lines(error: BaseException) -> Iterator[str]:
    yield " ".join(str(error).split("\n")[:2]).strip()
    if isinstance(error.__cause__, OmegaConfBaseException):
        yield f"({str(error.__cause__).splitlines()[0]})"


@contextmanager
def _placeholders_for_unknown_names() -> Iterator[Any]:
    """A function that adds a config for a missing model or device, so that Hydra composes the grid and cells get rows.

    At the end the configs that were added are removed.
    """
    repository = ConfigStore.instance().repo
    before = {group: dict(repository.get(group, {})) for group in ("model", "device")}

    def add_placeholder(missing: MissingConfigException) -> None:
        group, _, name = str(missing.missing_cfg_file).partition("/")
        similar = list(near(name, list(missing.options or ())))
        ConfigStore.instance().store(group=group, name=name, node={"unknown_near": similar})

    try:
        yield add_placeholder
    finally:
        for group, entries in before.items():
            repository[group] = entries


def _refuse_unless_replaceable(missing: MissingConfigException, problems: Sequence[str], *, again: bool) -> None:
    """A model or device without a config makes rows; any other config that is missing ends the request."""
    group, _, name = str(missing.missing_cfg_file).partition("/")
    if group in {"model", "device"} and name and "/" not in name and not again:
        return
    options = list(missing.options or ())
    if not name:
        raise BadRequest(str(missing).splitlines()[0], *problems)
    hint = did_you_mean(near(name, options)) or f"; there are {', '.join(options)}"
    names = "; names of conversions go into conversion=…" if group == "conversions" else ""
    raise BadRequest(f"unknown {group} {name!r}{hint}{names}", *problems)


def _written(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _refers_to(values: Mapping[str, Sequence[Any]], resolved: Callable[..., Any]) -> bool:
    """Whether anything else is another with another value of a swept option; it is left at its first."""
    found = False
    for key, (first, *others) in values.items():
        before = resolved(**{key: first})
        found = found or any(set(unlike(before, resolved(**{key: other}))) - {key} for other in others)
        resolved(**{key: first})
    return found


def _preset(name: str) -> Any:
    """A preset of conversions as plain data, while Hydra runs a job; None where there is none of that name."""
    found = GlobalHydra.instance().config_loader().repository.load_config(f"conversions/{name}")  # type: ignore[attr-defined]
    return OmegaConf.to_container(found.config) if found else None


def _read(
    config: DictConfig, arguments: Sequence[str], swept_values: Mapping[str, Sequence[str]]
) -> tuple[list[Request], Settings]:
    """The requests of one Hydra job, one for each combination of the swept values."""
    job = HydraConfig.get()

    def read_plain(plain: Any, taken: Collection[str] = (), /, **chosen: Any) -> tuple[Request, Settings]:
        both = {**chosen, **{path: at(plain, path) for path in sorted(taken)}}
        task = [*job.overrides.task, *(f"{key}={_written(value)}" for key, value in both.items())]
        return read.read({**plain, **chosen}, job.runtime.choices, task, job.runtime.output_dir, arguments)

    def resolved(**chosen: Any) -> Any:
        for key, value in chosen.items():
            OmegaConf.update(config, key, value)
        return environments.with_presets(OmegaConf.to_container(config, resolve=True), _preset)

    try:
        values = {key: [_parse([f"{key}={text}"])[0].value() for text in texts] for key, texts in swept_values.items()}
        if _refers_to(values, resolved):  # a model's config, say, takes a swept option, by whatever interpolation
            grid = [dict(zip(values, chosen, strict=True)) for chosen in product(*values.values())]
            plains = [resolved(**chosen) for chosen in grid]
            taken = {path for plain in plains for path in unlike(plains[0], plain)} - set(values)
            combinations = [read_plain(plain, taken, **chosen) for plain, chosen in zip(plains, grid, strict=True)]
            return [request for request, _ in combinations], combinations[0][1]
        plain = resolved()
        request, settings = read_plain(plain)
        by_option = {key: [read_plain(plain, **{key: value})[0] for value in values[key]] for key in values}
        return read.combinations(request, by_option), settings
    except OmegaConfBaseException as error:
        raise BadRequest(str(error).splitlines()[0]) from error
