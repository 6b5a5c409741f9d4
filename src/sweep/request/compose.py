"""From the command line to plain requests; the only file that knows Hydra and OmegaConf."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import sweep
from sweep.cell import Request
from sweep.errors import BadRequest
from sweep.plan.names import did_you_mean, near
from sweep.record import RunFolder
from sweep.request import read
from sweep.request.resume import taken_up
from sweep.request.settings import Settings


def conf_dir() -> Path:
    """Where the shipped configuration is: inside an installed package, beside `src/` in a checkout."""
    package = Path(sweep.__file__).resolve().parent
    return package / "conf" if (package / "conf").is_dir() else package.parents[1] / "conf"


def compose(arguments: Sequence[str]) -> tuple[list[Request], Settings] | None:
    """The requests and settings that the arguments ask for; None if they asked for help or the configuration.

    Raises BadRequest with every problem that was found.
    """
    arguments = [argument.encode(errors="replace").decode() for argument in arguments]
    arguments = taken_up(arguments, lambda some: _parse(_flags(some).overrides))
    with _unknown_names_stand_in() as stand_in:
        argv, spread = _prepared(arguments)
        jobs = _Jobs(arguments, spread)
        known_missing: set[str] = set()
        while missing := _try(lambda: _run_hydra(jobs.collect, argv)):
            name = str(missing.missing_cfg_file)
            _refuse_unless_replaceable(missing, jobs.problems, again=name in known_missing)
            known_missing.add(name)
            stand_in(missing)
            jobs.forget()
    try:
        return jobs.checked()
    except BadRequest:
        for folder in jobs.folders:
            RunFolder(folder).discard_unused()
        raise


class _Jobs:
    """What the jobs that Hydra makes of a grid ask for, and what is wrong with them."""

    def __init__(self, arguments: Sequence[str], spread: Mapping[str, Sequence[str]]) -> None:
        self._arguments, self._spread = arguments, spread
        self._requests: list[Request] = []
        self._settings: list[Settings] = []
        self.problems: list[str] = []
        self.folders: set[Path] = set()

    def collect(self, config: DictConfig) -> None:
        """Take what one job asks for."""
        self.folders.add(Path(HydraConfig.get().runtime.output_dir))
        try:
            requests, settings = _read(config, self._arguments, self._spread)
        except BadRequest as error:
            self.problems.extend(problem for problem in error.problems if problem not in self.problems)
        else:
            self._requests.extend(requests)
            self._settings.append(settings)

    def forget(self) -> None:
        """Begin anew: the grid is composed again."""
        self._requests.clear()
        self._settings.clear()

    def checked(self) -> tuple[list[Request], Settings] | None:
        """All of it together, None where there was no job. Raises BadRequest."""
        if self.problems:
            raise BadRequest(*self.problems)
        if not self._requests:
            return None
        first, *others = self._settings
        if any(other != first for other in others):
            raise BadRequest(f"{', '.join(sorted(read.WHOLE_SWEEP))} hold for a whole sweep and cannot be swept over")
        read.refuse_if_nothing_is_known(self._requests)
        return self._requests, first


def _flags(arguments: Sequence[str]) -> Any:
    parser = get_args_parser()
    parser.prog = "python -m sweep"
    return parser.parse_intermixed_args(list(arguments))


def _prepared(arguments: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """The arguments for Hydra, and the values of plain options that are swept over.

    Hydra takes a tenth of a second for each job, so it composes once for what it alone can compose: conversions go to
    it as one list, and of a plain option only the first value does. Given -m if something is swept.
    """
    flags = _flags(arguments)
    overrides = _parse(flags.overrides)
    _refuse_misleading(overrides, flags.config_dir)
    swept = [override for override in overrides if override.is_sweep_override()]
    spread = {
        override.key_or_group: list(override.sweep_string_iterator())
        for override in swept
        if override.key_or_group in read.PLAIN
    }
    instead = {
        str(override.input_line): f"{override.key_or_group}={spread[override.key_or_group][0]}"
        for override in swept
        if override.key_or_group in spread
    }
    instead |= {
        line: f"conversion=[{line.partition('=')[2]}]"
        for override in swept
        if override.key_or_group == "conversion" and override.value_type is ValueType.SIMPLE_CHOICE_SWEEP
        if (line := str(override.input_line))
    }
    # Hydra's own parser wants all overrides on one side of the flags
    rest = [argument for argument in arguments if argument not in flags.overrides]
    argv = [*rest, *(instead.get(override, override) for override in flags.overrides)]
    if not any(override.key_or_group == "hydra.sweep.dir" for override in overrides):
        # Hydra would look at the clock anew each time a grid is composed again
        argv.append(f"hydra.sweep.dir={datetime.now():multirun/%Y-%m-%d/%H-%M-%S}")
    is_grid = any(override.input_line not in instead for override in swept)
    return [*argv, "--multirun"] if is_grid and not flags.multirun else argv, spread


def _refuse_misleading(overrides: Sequence[Override], config_dir: str | None) -> None:
    """Raise BadRequest for what Hydra would take in silence as something else than was meant."""
    if config_dir and (shadowed := sorted(_shadowed(Path(config_dir)))):
        raise BadRequest(
            *(
                f"{path}: sweep has a {path.parent.name} {path.stem!r} of its own, which would be taken in "
                "its place: give yours another name"
                for path in shadowed
            )
        )
    given = [override.key_or_group for override in overrides if not override.key_or_group.startswith("hydra")]
    if twice := sorted({key for key in given if given.count(key) > 1}):
        raise BadRequest(*(f"{key} is given more than once: use {key}=a,b to run each" for key in twice))
    if outside := [str(o.input_line) for o in overrides if o.key_or_group in read.GROUPS and _leaves_its_group(o)]:
        raise BadRequest(*(f"{line}: a name must not lead out of its group" for line in outside))


def _shadowed(folder: Path) -> Iterator[Path]:
    """Configs of the user's that Hydra would pass over, for it looks at the shipped ones first."""
    for path in folder.glob("*/*.yaml"):
        if path.parent.name in read.GROUPS and (conf_dir() / path.relative_to(folder)).exists():
            yield path


def _leaves_its_group(override: Override) -> bool:
    return any(
        part.strip(" '\"").startswith(("/", "..")) for part in str(override.input_line).partition("=")[2].split(",")
    )


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


def _try(action: Any) -> MissingConfigException | None:
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
def _unknown_names_stand_in() -> Iterator[Any]:
    """Lets Hydra compose a grid in which a model or device has no config, so that its cells get their rows."""
    repository = ConfigStore.instance().repo
    before = {group: dict(repository.get(group, {})) for group in ("model", "device")}

    def stand_in(missing: MissingConfigException) -> None:
        group, _, name = str(missing.missing_cfg_file).partition("/")
        meant = list(near(name, list(missing.options or ())))
        ConfigStore.instance().store(group=group, name=name, node={"unknown_near": meant})

    try:
        yield stand_in
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


def _read(
    config: DictConfig, arguments: Sequence[str], spread: Mapping[str, Sequence[str]]
) -> tuple[list[Request], Settings]:
    """The requests of one Hydra job, one for each combination of the values in `spread`."""
    about = HydraConfig.get()

    def one(plain: Any, **chosen: Any) -> tuple[Request, Settings]:
        task = [*about.overrides.task, *(f"{key}={value}" for key, value in chosen.items())]
        return read.read({**plain, **chosen}, about.runtime.choices, task, about.runtime.output_dir, arguments)

    def resolved(**chosen: Any) -> Any:
        for key, value in chosen.items():
            OmegaConf.update(config, key, value)
        return OmegaConf.to_container(config, resolve=True)

    try:
        values = {key: [_parse([f"{key}={value}"])[0].value() for value in spread[key]] for key in spread}
        text = str(OmegaConf.to_container(config)) if spread else ""
        if any(f"${{{key}" in text for key in spread):  # a model's config, say, takes a value from there
            grid = [dict(zip(values, chosen, strict=True)) for chosen in product(*values.values())]
            combinations = [one(resolved(**chosen), **chosen) for chosen in grid]
            return [asked for asked, _ in combinations], combinations[0][1]
        plain = resolved()
        asked, settings = one(plain)
        each = {key: [one(plain, **{key: value})[0] for value in values[key]] for key in values}
        return read.spread(asked, each), settings
    except OmegaConfBaseException as error:
        raise BadRequest(str(error).splitlines()[0]) from error
