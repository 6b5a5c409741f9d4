"""From a composed configuration, as plain data, to a request and the settings of its sweep; all problems at once."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sweep import cell, inputs, reading
from sweep.cell import Device, Model, Request, Rule, Tolerance
from sweep.devices import KINDS
from sweep.errors import BadRequest
from sweep.plan.environments import ForConversions
from sweep.plan.names import did_you_mean, near
from sweep.plan.registry import Registered
from sweep.plan.rules import Grid, Override
from sweep.request import environments, settings
from sweep.request.nested import at
from sweep.request.settings import Settings
from sweep.user_data import UserData

_OF_CELLS = {name for name, option in cell.OPTIONS.items() if option.group is None}
_GROUPED = {option.group for option in cell.OPTIONS.values() if option.group is not None}
_CONVERSIONS = {"conversion", "conversions"}
_COLUMNS = _CONVERSIONS | {name for name, option in cell.OPTIONS.items() if option.column}

WHOLE_SWEEP = settings.OPTIONS | _GROUPED
"""Options that hold for all cells of a sweep."""

GROUPS = {*settings.GROUPS, *_GROUPED, "conversions"} | _OF_CELLS.difference({*cell.PLAIN, "data"})
"""Options that hold options of their own."""

_UNRECORDED = {n for n, option in cell.OPTIONS.items() if option.meaning == "never" and not option.recorded}
_NOT_RECORDED = WHOLE_SWEEP | {"hydra"} | _UNRECORDED
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
    if malformed := _missing(plain) or _unknown(plain):
        raise BadRequest(*malformed)
    request = {
        **{name: plain[name] for name in _OF_CELLS},
        **{name: value for group in _GROUPED for name, value in plain[group].items()},
        "model": _model(plain["model"], choices.get("model")),
        "device": _device(plain["device"], choices["device"]),
        "data": _data(plain["data"], choices.get("data")),
        "conversions": _conversions(plain),
        "python_path": [str(Path.cwd())],  # `python -m` finds the user's own code there, so cells do too
        "overrides": _overrides_without_a_column(task, plain),
    }
    if variables := _variables_of_ray(plain):
        request["env"] = [*(request.get("env") or ()), *variables]
    sweep_settings = {
        **{name: plain[name] for name in settings.OPTIONS if name not in _OF_GRID},
        "grid": {name: _of_grid(name, plain[name]) for name in _OF_GRID},
        "run_dir": run_dir,
        "command": tuple(arguments),
        "resume": plain["resume"] is not None,
        **{key: [plain[key]] if isinstance(plain[key], str) else plain[key] for key in ("fail_on", "retry")},
    }
    problems = []
    try:
        checked_request = reading.of(Request).validate_python(request)
    except ValidationError as error:
        problems += _messages(error)
    try:
        checked_settings = reading.of(Settings).validate_python(sweep_settings)
    except ValidationError as error:
        problems += _messages(error)
    if problems:
        raise BadRequest(*problems)
    return checked_request, checked_settings


def combinations(request: Request, by_option: Mapping[str, Sequence[Request]]) -> list[Request]:
    """A request for every combination of the options in `by_option`, which holds a request for each of their values.

    All else is as in `request`.
    """
    if not by_option:
        return [request]
    names = list(by_option)
    return [
        replace(
            request,
            **{name: getattr(part, name) for name, part in zip(names, parts, strict=True)},
            overrides={
                **request.overrides,
                **{key: value for part in parts for key, value in part.overrides.items() if key in names},
            },
        )
        for parts in product(*by_option.values())
    ]


def refuse_if_nothing_is_known(requests: Sequence[Request]) -> None:
    """Raise BadRequest where no request has both a model and a device that have a config."""
    if any(request.model.known and request.device.known for request in requests):
        return
    unknown = [part for request in requests for part in (request.model, request.device) if not part.known]
    kinds = {Model: "model", Device: "device"}
    raise BadRequest(
        *dict.fromkeys(
            f"unknown {kinds[type(part)]} {part.name!r}"
            + (did_you_mean(part.near) or f"; `python -m sweep --help` lists every {kinds[type(part)]}")
            for part in unknown
        )
    )


def _missing(plain: dict[str, Any]) -> list[str]:
    """Options that are missing, or are no mapping where they must be one: an override has removed or emptied them."""
    return [
        *(f"{key} is missing: leave its default alone" for key in sorted(_OPTIONS - {"model"} - plain.keys())),
        *(f"{key} must hold options" for key in sorted(GROUPS & plain.keys()) if not isinstance(plain[key], dict)),
    ]


def _unknown(plain: dict[str, Any]) -> list[str]:
    """Keys that nothing reads, at any depth: a misspelt option must not be dropped silently."""
    rule = plain["conversions"].get("rule")
    overrides = _as_list(plain["rules"])
    device = {} if "unknown_near" in plain["device"] else plain["device"]
    parts = {name: (plain[name], _field_names(noun)) for name, noun in {**cell.PARTS, **settings.PARTS}.items()}
    parts["device"] = device, _field_names(Device) - {"name", "known", "near"}
    parts |= {
        group: (plain[group], {name for name, option in cell.OPTIONS.items() if option.group == group})
        for group in _GROUPED
    }
    return [
        *_unknown_keys(plain, _OPTIONS, ""),
        *(problem for part, (node, known) in parts.items() for problem in _unknown_keys(node, known, f"{part}.")),
        *(
            f"unknown option model.{path}.{key}{did_you_mean(near(key, sorted(inputs.KEYS)))}"
            for path, key in _unknown_keys_of_inputs(plain["model"])
        ),
        *_unknown_keys(plain["conversions"], {"names", "rule"}, "conversions."),
        *_unknown_keys({} if rule is None else rule, _field_names(Rule), "conversions.rule."),
        *(
            problem
            for number, node in enumerate(overrides if isinstance(overrides, list) else [])
            for problem in _unknown_keys(node, _field_names(Override), f"rules[{number}].")
        ),
        *(
            problem
            for name, node in plain["register"].items()
            for problem in _unknown_keys(node, _field_names(Registered), f"register.{name}.")
        ),
        *(
            problem
            for name, node in plain["environments"].items()
            for problem in _unknown_keys(node, _field_names(ForConversions), f"environments.{name}.")
        ),
        *(
            problem
            for name, node in plain["tolerance"].items()
            for problem in _unknown_keys(node, _field_names(Tolerance), f"tolerance.{name}.")
        ),
    ]


def _unknown_keys_of_inputs(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The keys that no description of a tensor has: their paths, and themselves."""

    def look(node: Any, path: str) -> Iterator[tuple[str, str]]:
        if isinstance(node, Mapping):
            if node.keys() & {"shape", "like"}:
                yield from ((path, str(key)) for key in node if key not in inputs.KEYS)
                return
            for key, child in node.items():
                yield from look(child, f"{path}.{key}")
        elif isinstance(node, list | tuple):
            for number, child in enumerate(node):
                yield from look(child, f"{path}[{number}]")

    if isinstance(node := config.get("input"), Mapping):
        yield from (("input", str(key)) for key in node if key not in inputs.KEYS - {"like"})
    yield from look(config.get("inputs"), "inputs")


def _of_grid(name: str, node: Any) -> Any:
    if name == "environments":
        return {key: environments.resolved(one) for key, one in node.items()}
    return _as_list(node)


def _as_list(rules: Any) -> Any:
    return [rules] if isinstance(rules, dict) else rules


def _field_names(noun: type) -> set[str]:
    return {field.name for field in fields(noun)}


def _unknown_keys(node: Any, known: set[str], prefix: str) -> list[str]:
    if not isinstance(node, dict):
        return [f"{prefix.rstrip('.')} must hold {', '.join(sorted(known))}"]
    return [
        f"unknown option {prefix}{key}{did_you_mean(near(str(key), sorted(known)))}" for key in node if key not in known
    ]


def _messages(error: ValidationError) -> list[str]:
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
    name = node.get("named") or choice or str(node.get("_target_", "model")).rpartition(".")[2]
    return {"name": str(name), "config": node}


def _data(node: Any, choice: str | None) -> Any:
    """Data by the name of its file; the options of sweep's own in it, and the arguments of its target."""
    if not isinstance(node, dict):
        if node is None:
            return None
        raise BadRequest(f"data={node} is no config: +data={node} takes that of conf/data/{node}.yaml")
    options = _field_names(UserData) - {"name", "arguments"}
    own = {key: value for key, value in node.items() if key in options}
    name = choice or str(node.get("_target_", "data")).rpartition(".")[2]
    return {"name": name, "arguments": {key: value for key, value in node.items() if key not in options}, **own}


def _device(node: dict[str, Any], choice: str) -> dict[str, Any]:
    if "unknown_near" in node:
        return {"name": choice, "known": False, "near": tuple(node["unknown_near"])}
    if choice in KINDS and node.get("kind") != choice:
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


def _variables_of_ray(plain: dict[str, Any]) -> list[str]:
    """The variables that Ray is asked to set for cells, which are to see them; as text, for Ray takes nothing else."""
    environment = plain["dispatch"].get("runtime_env")
    variables = environment.get("env_vars") if isinstance(environment, dict) else None
    if not isinstance(variables, dict):
        return []
    variables |= {name: json.dumps(value) for name, value in variables.items() if isinstance(value, int | float)}
    return list(variables)


def _overrides_without_a_column(task: Sequence[str], plain: dict[str, Any]) -> dict[str, str]:
    """The overrides that change a cell and have no column in a row, by the names of their options.

    Of one that takes its value from another option it is the value that it took.
    """
    pairs = (override.lstrip("+~").partition("=") for override in task)
    named = _COLUMNS | _NOT_RECORDED
    return {
        key: str(at(plain, key)) if "${" in value else value
        for key, _, value in pairs
        if key not in named and key.partition(".")[0] not in _NOT_RECORDED
    }
