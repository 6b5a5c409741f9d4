"""From a request in Python to the arguments of the command line, in Hydra's grammar."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral, Real
from pathlib import PurePath
from typing import Any

from sweep.cell import OPTIONS
from sweep.errors import BadRequest

Names = str | Sequence[str]

_RUN_EACH = {name for name, option in OPTIONS.items() if option.group is None} - {"model"}
"""Options that take one value, so that a list for one of them, or for one inside them, runs each of its values."""

_KEY = re.compile(r"[+]{0,2}[A-Za-z_][\w.+-]*")
_UNQUOTED = re.compile(r"[A-Za-z_][\w+./-]*", re.ASCII)
_KEYWORDS = {"true", "false", "null", "nan", "inf"}


def command_line(
    models: Names | None,
    conversions: Names | None,
    preset: str | None,
    devices: Names | None,
    options: Mapping[str, Any],
) -> list[str]:
    """One argument for each option that is given. Raises BadRequest with all that no command line can express."""
    named = {"+model": models, "conversion": conversions, "conversions": preset, "device": devices}
    arguments, problems = [], []
    for key, value in [*((key, value) for key, value in named.items() if value is not None), *_of_groups(options)]:
        try:
            arguments.append(f"{key}={_value(key, value)}")
        except ValueError as error:
            problems.append(f"{key}: {error}")
    if conversions is not None and preset is not None:
        problems.append("conversions and preset: give one of them")
    if problems:
        raise BadRequest(*problems)
    return arguments


def _of_groups(options: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The options; a name of data is one of a config that no default has."""
    for key, value in options.items():
        is_name = isinstance(value, str) or (_is_list(value) and all(isinstance(one, str) for one in value))
        yield ("+data" if key == "data" and is_name else key), value


def _value(key: str, value: Any) -> str:
    if not _KEY.fullmatch(key):
        raise ValueError("is no name of an option")
    run_each = key in {"+model", "+data"} or key.partition(".")[0] in _RUN_EACH
    if not run_each or not _is_list(value):
        return literal([value] if key == "conversion" and not _is_list(value) else value)
    if not value:
        raise ValueError("an empty list asks for nothing")
    return ",".join(map(literal, value))


def literal(value: Any) -> str:
    """A value in Hydra's grammar, which reads it back as it was. Raises ValueError for what that cannot express."""
    match value:
        case None | bool():
            return json.dumps(value)
        case Integral():
            return str(int(value))
        case Real():
            return repr(float(value))
        case str() | PurePath():
            return _string(str(value))
        case Mapping():
            return f"{{{','.join(f'{_key(key)}:{literal(item)}' for key, item in value.items())}}}"
        case _ if _is_list(value):
            return f"[{','.join(map(literal, value))}]"
    raise ValueError(f"cannot write {type(value).__name__} {value!r} as an option")


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _string(text: str) -> str:
    """A text, in quotes where Hydra would not read it as one; quotes in it, and backslashes before one, are escaped."""
    if _UNQUOTED.fullmatch(text) and text.lower() not in _KEYWORDS:
        return text
    escaped = re.sub(r"(\\*)('|\Z)", lambda match: match[1] * 2 + (r"\'" if match[2] else ""), text)
    return f"'{escaped}'"


def _key(key: Any) -> str:
    if not isinstance(key, str) or not _UNQUOTED.fullmatch(key):
        raise ValueError(f"cannot write the key {key!r} in an option")
    return key


def model_files(models: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The text of a config file for each model, by its name. Raises BadRequest for what no such file can hold.

    It is JSON, which is YAML where characters that YAML would fold or refuse are escaped.
    """
    files, problems = {}, []
    for name, config in models.items():
        if not re.fullmatch(r"[^/.~\s][^/\n]*", name) or not name.isprintable():
            problems.append(f"{name!r} cannot name a model")
        try:
            text = json.dumps(_as_json(config), ensure_ascii=False, allow_nan=False, indent=1)
        except ValueError as error:
            problems.append(f"model {name!r}: {error}")
        else:
            files[name] = re.sub(
                "[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]", lambda match: f"\\u{ord(match[0]):04x}", text
            )
    if problems:
        raise BadRequest(*problems)
    return files


def _as_json(value: Any) -> Any:
    match value:
        case None | bool() | str():
            return value
        case Integral():
            return int(value)
        case Real() if math.isfinite(value):
            return float(value)
        case PurePath():
            return str(value)
        case Mapping():
            return {str(key): _as_json(item) for key, item in value.items()}
        case _ if _is_list(value):
            return [_as_json(item) for item in value]
    raise ValueError(f"a config cannot hold {type(value).__name__} {value!r}")
