"""From a composed configuration, as plain data, to a request and the settings of its sweep; every fault at once."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sweep import reading
from sweep.cell import Device, Limits, Measure, Request, Rule, Tolerance
from sweep.errors import BadRequest
from sweep.plan.names import did_you_mean, near
from sweep.plan.registry import Registered
from sweep.plan.rules import Override
from sweep.request.settings import Dispatch, Settings

_COLUMNS = {"model", "conversion", "conversions", "device", "batch_size", "threads"}
WHOLE_SWEEP = {
    *("dispatch", "on_invalid", "fail_on", "dry_run", "isolate", "resume", "resume_anyway", "retry"),
    *("include", "exclude", "rules", "register", "record", "report"),
}
"""Options that hold for all cells of a sweep."""
_NOT_THE_MEANING = WHOLE_SWEEP | {"limits", "hydra"}
_OPTIONS = _COLUMNS | WHOLE_SWEEP | {"seed", "cache", "measure", "limits", "tolerance"}
SPREAD = {"batch_size", "threads", "seed", "cache"}
"""Plain options, which Hydra need not compose anew for each of their values."""
GROUPS = {
    *("model", "conversions", "device", "dispatch", "limits", "measure", "tolerance", "isolate"),
    *("register", "record", "report"),
}
"""Options that hold options of their own."""


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
        "model": _model(plain["model"], choices.get("model")),
        "device": _device(plain["device"], choices["device"]),
        "conversions": _conversions(plain),
        "env": plain["isolate"]["env"],
        "start": plain["isolate"]["start"],
        "python_path": [str(Path.cwd())],  # `python -m` finds the user's own code there, so cells do too
        "overrides": _beside_the_columns(task),
        **{key: plain[key] for key in ("batch_size", "threads", "seed", "cache", "measure", "limits", "tolerance")},
    }
    settings = {
        "run_dir": run_dir,
        "dispatch": plain["dispatch"],
        "command": tuple(arguments),
        "resume": plain["resume"] is not None,
        "register": plain["register"],
        "mlflow": plain["record"]["mlflow"],
        "junit": plain["report"]["junit"],
        "grid": {
            "include": _listed(plain["include"]),
            "exclude": _listed(plain["exclude"]),
            "changes": _listed(plain["rules"]),
        },
        **{key: [plain[key]] if isinstance(plain[key], str) else plain[key] for key in ("fail_on", "retry")},
        **{key: plain[key] for key in ("on_invalid", "dry_run", "resume_anyway")},
    }
    problems = []
    try:
        checked_request = reading.of(Request).validate_python(request)
    except ValidationError as error:
        problems += _explained(error)
    try:
        checked_settings = reading.of(Settings).validate_python(settings)
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


def _missing(plain: dict[str, Any]) -> list[str]:
    """Options that are not there, or are no mapping where they must be one: taken away or emptied by an override."""
    return [
        *(f"{key} is missing: leave its default alone" for key in sorted(_OPTIONS - {"model"} - plain.keys())),
        *(f"{key} must hold options" for key in sorted(GROUPS & plain.keys()) if not isinstance(plain[key], dict)),
    ]


def _unknown(plain: dict[str, Any]) -> list[str]:
    """Keys that nothing reads, wherever they stand: what is misspelt must not be dropped without a word."""
    given, rule = plain["model"].get("input"), plain["conversions"].get("rule")
    changes = _listed(plain["rules"])
    device = {} if "unknown_near" in plain["device"] else plain["device"]
    return [
        *_unknown_keys(plain, _OPTIONS, ""),
        *_unknown_keys(plain["measure"], _names(Measure), "measure."),
        *_unknown_keys(plain["limits"], _names(Limits), "limits."),
        *_unknown_keys(plain["dispatch"], _names(Dispatch), "dispatch."),
        *_unknown_keys(plain["isolate"], {"env", "start"}, "isolate."),
        *_unknown_keys(plain["record"], {"mlflow"}, "record."),
        *_unknown_keys(plain["report"], {"junit"}, "report."),
        *_unknown_keys(device, _names(Device) - {"name", "known", "near"}, "device."),
        *_unknown_keys(given if isinstance(given, dict) else {}, {"shape", "dtype", "low", "high"}, "model.input."),
        *_unknown_keys(plain["conversions"], {"names", "rule"}, "conversions."),
        *_unknown_keys({} if rule is None else rule, _names(Rule), "conversions.rule."),
        *(
            problem
            for number, node in enumerate(changes if isinstance(changes, list) else [])
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
