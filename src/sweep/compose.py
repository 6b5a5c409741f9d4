"""From the command line to plain requests; the only file that knows Hydra and OmegaConf."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
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
from pydantic import TypeAdapter, ValidationError

from sweep import registry
from sweep.cell import Device, Limits, Measure, Model, Request, Rule, Tolerance
from sweep.errors import BadRequest
from sweep.settings import Settings

_COLUMNS = {"model", "conversion", "conversions", "device", "batch_size", "threads"}
_WHOLE_SWEEP = {"dispatch", "on_invalid", "fail_on", "dry_run", "isolate"}
_NOT_THE_MEANING = _WHOLE_SWEEP | {"limits", "hydra"}
_OPTIONS = _COLUMNS | _WHOLE_SWEEP | {"seed", "cache", "measure", "limits", "tolerance"}
_PRESET = {field.name for field in fields(Rule)}


def conf_dir() -> Path:
    """Where the shipped configuration is: inside an installed package, beside `src/` in a checkout."""
    package = Path(__file__).resolve().parent
    return package / "conf" if (package / "conf").is_dir() else package.parents[1] / "conf"


def compose(arguments: Sequence[str]) -> tuple[list[Request], Settings] | None:
    """The requests and settings that the arguments ask for; None if they asked for help or the configuration.

    Raises BadRequest with every problem that was found.
    """
    requests: list[Request] = []
    settings: list[Settings] = []
    problems: list[str] = []

    def collect(config: DictConfig) -> None:
        try:
            request, how = _read(config, arguments)
        except BadRequest as error:
            problems.extend(problem for problem in error.problems if problem not in problems)
        else:
            requests.append(request)
            settings.append(how)

    with _unknown_names_stand_in() as stand_in:
        argv = _prepared(arguments)
        while missing := _try(lambda: _run_hydra(collect, argv)):
            _refuse_unless_replaceable(missing, problems)
            stand_in(missing)
            requests.clear()
            settings.clear()
    if problems:
        raise BadRequest(*problems)
    if not requests:
        return None
    if len(set(settings)) > 1:
        raise BadRequest(f"{', '.join(sorted(_WHOLE_SWEEP))} hold for a whole sweep and cannot be swept over")
    _refuse_if_nothing_is_known(requests)
    return requests, settings[0]


def _prepared(arguments: Sequence[str]) -> list[str]:
    """The arguments with conversions as one list, so that Hydra composes once for all, and -m if something is swept."""
    parser = get_args_parser()
    parser.prog = "python -m sweep"
    flags = parser.parse_intermixed_args(list(arguments))
    overrides = _parse(flags.overrides)
    given = [override.key_or_group for override in overrides if not override.key_or_group.startswith("hydra")]
    if twice := sorted({key for key in given if given.count(key) > 1}):
        raise BadRequest(*(f"{key} is given more than once: use {key}=a,b to run each" for key in twice))
    lists = {
        line: f"conversion=[{line.partition('=')[2]}]"
        for override in overrides
        if override.key_or_group == "conversion" and override.value_type is ValueType.SIMPLE_CHOICE_SWEEP
        if (line := override.input_line)
    }
    # Hydra's own parser wants all overrides on one side of the flags
    rest = [argument for argument in arguments if argument not in flags.overrides]
    argv = [*rest, *(lists.get(override, override) for override in flags.overrides)]
    swept = any(override.is_sweep_override() and override.input_line not in lists for override in overrides)
    return [*argv, "--multirun"] if swept and not flags.multirun else argv


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
    except (HydraException, OmegaConfBaseException) as error:
        raise BadRequest(" ".join(_first_lines(error))) from error
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
        near = list(registry.near(name, list(missing.options or ())))
        ConfigStore.instance().store(group=group, name=name, node={"unknown_near": near})

    try:
        yield stand_in
    finally:
        for group, entries in before.items():
            repository[group] = entries


def _refuse_unless_replaceable(missing: MissingConfigException, problems: Sequence[str]) -> None:
    """A model or device without a config makes rows; any other config that is missing ends the request."""
    group, _, name = str(missing.missing_cfg_file).partition("/")
    if group in {"model", "device"} and name and "/" not in name:
        return
    options = list(missing.options or ())
    if not name:
        raise BadRequest(str(missing).splitlines()[0], *problems)
    hint = registry.did_you_mean(registry.near(name, options)) or f"; there are {', '.join(options)}"
    names = "; names of conversions go into conversion=…" if group == "conversions" else ""
    raise BadRequest(f"unknown {group} {name!r}{hint}{names}", *problems)


def _refuse_if_nothing_is_known(requests: Sequence[Request]) -> None:
    if any(request.model.known and request.device.known for request in requests):
        return
    things = [thing for request in requests for thing in (request.model, request.device) if not thing.known]
    kinds = {Model: "model", Device: "device"}
    raise BadRequest(
        *dict.fromkeys(
            f"unknown {kinds[type(thing)]} {thing.name!r}"
            + (registry.did_you_mean(thing.near) or f"; `python -m sweep --help` lists every {kinds[type(thing)]}")
            for thing in things
        )
    )


def _read(config: DictConfig, arguments: Sequence[str]) -> tuple[Request, Settings]:
    about = HydraConfig.get()
    choices: Mapping[str, Any] = about.runtime.choices
    try:
        plain: Any = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise BadRequest(str(error).splitlines()[0]) from error
    if not isinstance(plain.get("model"), dict):
        raise BadRequest("which model? Name one with +model=NAME, such as +model=resnet")
    unknown = [
        *_unknown_keys(plain, _OPTIONS, ""),
        *_unknown_keys(plain["measure"], {f.name for f in fields(Measure)}, "measure."),
        *_unknown_keys(plain["limits"], {f.name for f in fields(Limits)}, "limits."),
        *_unknown_keys(plain["conversions"], {"names", "rule"}, "conversions."),
        *_unknown_keys(plain["conversions"].get("rule", {}), _PRESET, "conversions.rule."),
        *(
            p
            for name, node in plain["tolerance"].items()
            for p in _unknown_keys(node, _TOLERANCE, f"tolerance.{name}.")
        ),
    ]
    if unknown:
        raise BadRequest(*unknown)
    request = {
        "model": _model(plain["model"], choices.get("model")),
        "device": _device(plain["device"], choices["device"]),
        "conversions": _conversions(plain),
        "env": plain["isolate"]["env"],
        "python_path": [str(Path.cwd())],  # `python -m` finds the user's own code there, so cells do too
        "overrides": _beside_the_columns(about.overrides.task),
        **{key: plain[key] for key in ("batch_size", "threads", "seed", "cache", "measure", "limits", "tolerance")},
    }
    settings = {
        "run_dir": about.runtime.output_dir,
        "dispatch": plain["dispatch"]["name"],
        "address": plain["dispatch"]["address"],
        "command": tuple(arguments),
        **{key: plain[key] for key in ("on_invalid", "fail_on", "dry_run")},
    }
    problems = []
    try:
        checked_request = TypeAdapter(Request).validate_python(request)
    except ValidationError as error:
        problems += _explained(error)
    try:
        checked_settings = TypeAdapter(Settings).validate_python(settings)
    except ValidationError as error:
        problems += _explained(error)
    if problems:
        raise BadRequest(*problems)
    return checked_request, checked_settings


_TOLERANCE = {field.name for field in fields(Tolerance)}


def _unknown_keys(node: Any, known: set[str], prefix: str) -> list[str]:
    if not isinstance(node, dict):
        return [f"{prefix.rstrip('.')} must hold {', '.join(sorted(known))}"]
    return [
        f"unknown option {prefix}{key}{registry.did_you_mean(registry.near(str(key), sorted(known)))}"
        for key in node
        if key not in known
    ]


def _explained(error: ValidationError) -> list[str]:
    return [
        ": ".join(
            filter(None, (".".join(str(part) for part in problem["loc"]), problem["msg"].removeprefix("Value error, ")))
        )
        for problem in error.errors()
    ]


def _model(node: dict[str, Any], choice: str | None) -> dict[str, Any]:
    if "unknown_near" in node:
        return {"name": choice, "known": False, "near": tuple(node["unknown_near"]), "config": {}}
    if node.get("checkpoint"):
        node["checkpoint"] = str(Path(node["checkpoint"]).expanduser().absolute())
    return {"name": choice or str(node.get("_target_", "model")).rpartition(".")[2], "config": node}


def _device(node: dict[str, Any], choice: str) -> dict[str, Any]:
    if "unknown_near" in node:
        return {"name": choice, "known": False, "near": tuple(node["unknown_near"])}
    return {"name": choice, **node}


def _conversions(plain: dict[str, Any]) -> Any:
    names = plain["conversion"]
    if names is not None:
        return (names,) if isinstance(names, str) else names
    preset = plain["conversions"]
    if ("names" in preset) == ("rule" in preset):
        raise BadRequest("a conversions preset holds either names or a rule")
    return preset["names"] if "names" in preset else preset["rule"]


def _beside_the_columns(task: Sequence[str]) -> dict[str, str]:
    """Overrides that change a cell and have no column of their own."""
    pairs = (override.lstrip("+~").partition("=") for override in task)
    named = _COLUMNS | _NOT_THE_MEANING
    return {key: value for key, _, value in pairs if key not in named and key.partition(".")[0] not in _NOT_THE_MEANING}
