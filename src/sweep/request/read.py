"""From a composed configuration, as plain data, to a request and the settings of its sweep; every fault at once."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sweep import cell, reading
from sweep.cell import Device, Model, Request, Rule, Tolerance
from sweep.errors import BadRequest
from sweep.plan.names import did_you_mean, near
from sweep.plan.registry import Registered
from sweep.plan.rules import Grid, Override
from sweep.request import settings
from sweep.request.settings import Settings

_OF_CELLS = {name for name, option in cell.OPTIONS.items() if option.group is None}
_GROUPED = {option.group for option in cell.OPTIONS.values() if option.group is not None}
_CONVERSIONS = {"conversion", "conversions"}
_COLUMNS = _CONVERSIONS | {name for name, option in cell.OPTIONS.items() if option.column}

WHOLE_SWEEP = settings.OPTIONS | _GROUPED
"""Options that hold for all cells of a sweep."""

PLAIN = {name for name, option in cell.OPTIONS.items() if option.plain}
"""Options of a single value, which Hydra need not compose anew for each of their values."""

GROUPS = {*settings.HELD, *_GROUPED, "conversions"} | (_OF_CELLS - PLAIN)
"""Options that hold options of their own."""

_NOT_THE_MEANING = WHOLE_SWEEP | {"hydra"} | {n for n, option in cell.OPTIONS.items() if option.meaning == "never"}
_OF_GRID = {field.name for field in fields(Grid)}
_OPTIONS = _CONVERSIONS | WHOLE_SWEEP | _OF_CELLS


def read(
    plain: dict[str, Any], choices: Mapping[str, Any], task: Sequence[str], run_dir: str, arguments: Sequence[str]
) -> tuple[Request, Settings]:
    """The request of one Hydra job and the settings of its sweep.

    `choices` are the names chosen for the config groups, `task` the overrides of this job. Raises BadRequest
    with every problem found.
    """
    if not isinstance(plain.get("model"), dict):
        raise BadRequest("which model? Name one with +model=NAME, such as +model=resnet")
    if broken := [*_missing(plain), *_unknown(plain)]:
        raise BadRequest(*broken)
    request = {
        **{name: (plain[option.group] if option.group else plain)[name] for name, option in cell.OPTIONS.items()},
        "model": _model(plain["model"], choices.get("model")),
        "device": _device(plain["device"], choices["device"]),
        "conversions": _conversions(plain),
        "python_path": [str(Path.cwd())],  # `python -m` finds the user's own code there, so cells do too
        "overrides": _beside_the_columns(task),
    }
    of_sweep = {
        **{name: plain[name] for name in settings.OPTIONS if name not in _OF_GRID},
        "grid": {name: _listed(plain[name]) for name in _OF_GRID},
        "run_dir": run_dir,
        "command": tuple(arguments),
        "resume": plain["resume"] is not None,
        **{key: [plain[key]] if isinstance(plain[key], str) else plain[key] for key in ("fail_on", "retry")},
    }
    problems = []
    try:
        checked_request = reading.of(Request).validate_python(request)
    except ValidationError as error:
        problems += _explained(error)
    try:
        checked_settings = reading.of(Settings).validate_python(of_sweep)
    except ValidationError as error:
        problems += _explained(error)
    if problems:
        raise BadRequest(*problems)
    return checked_request, checked_settings


def spread(asked: Request, by_key: Mapping[str, Sequence[Request]]) -> list[Request]:
    """Every combination of options of which `by_key` holds a request for each value, all else as in `asked`."""
    if not by_key:
        return [asked]
    keys = list(by_key)
    return [
        replace(
            asked,
            **{key: getattr(one, key) for key, one in zip(keys, chosen, strict=True)},
            overrides={**asked.overrides, **{k: v for one in chosen for k, v in one.overrides.items() if k in keys}},
        )
        for chosen in product(*by_key.values())
    ]


def refuse_if_nothing_is_known(requests: Sequence[Request]) -> None:
    """Raise BadRequest where no request has both a model and a device that there are."""
    if any(asked.model.known and asked.device.known for asked in requests):
        return
    things = [thing for asked in requests for thing in (asked.model, asked.device) if not thing.known]
    kinds = {Model: "model", Device: "device"}
    raise BadRequest(
        *dict.fromkeys(
            f"unknown {kinds[type(thing)]} {thing.name!r}"
            + (did_you_mean(thing.near) or f"; `python -m sweep --help` lists every {kinds[type(thing)]}")
            for thing in things
        )
    )


def _missing(plain: dict[str, Any]) -> list[str]:
    """Options that are not there, or are no mapping where they must be one: taken away or emptied by an override."""
    return [
        *(f"{key} is missing: leave its default alone" for key in sorted(_OPTIONS - {"model"} - plain.keys())),
        *(f"{key} must hold options" for key in sorted(GROUPS & plain.keys()) if not isinstance(plain[key], dict)),
    ]


def _unknown(plain: dict[str, Any]) -> list[str]:
    """Keys that nothing reads, wherever they stand: what is misspelt must not be dropped without a word."""
    given, rule = plain["model"].get("input"), plain["conversions"].get("rule")
    overrides = _listed(plain["rules"])
    device = {} if "unknown_near" in plain["device"] else plain["device"]
    parts = {name: (plain[name], _names(noun)) for name, noun in {**cell.PARTS, **settings.PARTS}.items()}
    parts["device"] = device, _names(Device) - {"name", "known", "near"}
    parts |= {group: (plain[group], {n for n, o in cell.OPTIONS.items() if o.group == group}) for group in _GROUPED}
    return [
        *_unknown_keys(plain, _OPTIONS, ""),
        *(problem for part, (node, known) in parts.items() for problem in _unknown_keys(node, known, f"{part}.")),
        *_unknown_keys(given if isinstance(given, dict) else {}, {"shape", "dtype", "low", "high"}, "model.input."),
        *_unknown_keys(plain["conversions"], {"names", "rule"}, "conversions."),
        *_unknown_keys({} if rule is None else rule, _names(Rule), "conversions.rule."),
        *(
            problem
            for number, node in enumerate(overrides if isinstance(overrides, list) else [])
            for problem in _unknown_keys(node, _names(Override), f"rules[{number}].")
        ),
        *(
            problem
            for name, node in plain["register"].items()
            for problem in _unknown_keys(node, _names(Registered), f"register.{name}.")
        ),
        *(
            problem
            for name, node in plain["tolerance"].items()
            for problem in _unknown_keys(node, _names(Tolerance), f"tolerance.{name}.")
        ),
    ]


def _listed(rules: Any) -> Any:
    return [rules] if isinstance(rules, dict) else rules


def _names(noun: type) -> set[str]:
    return {field.name for field in fields(noun)}


def _unknown_keys(node: Any, known: set[str], prefix: str) -> list[str]:
    if not isinstance(node, dict):
        return [f"{prefix.rstrip('.')} must hold {', '.join(sorted(known))}"]
    return [
        f"unknown option {prefix}{key}{did_you_mean(near(str(key), sorted(known)))}" for key in node if key not in known
    ]


def _explained(error: ValidationError) -> list[str]:
    return [
        ": ".join(
            filter(
                None,
                (
                    ".".join(str(part) for part in problem["loc"] if part != "grid"),
                    problem["msg"].removeprefix("Value error, "),
                ),
            )
        )
        for problem in error.errors()
    ]


def _model(node: dict[str, Any], choice: str | None) -> dict[str, Any]:
    if "unknown_near" in node:
        return {"name": choice, "known": False, "near": tuple(node["unknown_near"]), "config": {}}
    if node.get("checkpoint"):
        node["checkpoint"] = str(Path(str(node["checkpoint"])).expanduser().absolute())
    return {"name": choice or str(node.get("_target_", "model")).rpartition(".")[2], "config": node}


def _device(node: dict[str, Any], choice: str) -> dict[str, Any]:
    if "unknown_near" in node:
        return {"name": choice, "known": False, "near": tuple(node["unknown_near"])}
    if choice in {"cpu", "cuda"} and node.get("kind") != choice:
        raise BadRequest(f"device={choice} is the {choice} device; give another kind a name of its own in conf/device/")
    return {"name": choice, **node}


def _conversions(plain: dict[str, Any]) -> Any:
    names = plain["conversion"]
    if names is not None:
        return tuple(map(str, names)) if isinstance(names, list) else (str(names),)
    preset = plain["conversions"]
    if ("names" in preset) == ("rule" in preset):
        raise BadRequest("a conversions preset holds either names or a rule")
    return preset["names"] if "names" in preset else preset["rule"]


def _beside_the_columns(task: Sequence[str]) -> dict[str, str]:
    """Overrides that change a cell and have no column of their own."""
    pairs = (override.lstrip("+~").partition("=") for override in task)
    named = _COLUMNS | _NOT_THE_MEANING
    return {key: value for key, _, value in pairs if key not in named and key.partition(".")[0] not in _NOT_THE_MEANING}
