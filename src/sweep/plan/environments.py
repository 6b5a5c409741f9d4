"""Which conversions run in an environment of their own, and in which; pure."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from sweep.cell import Mode, Request, Rule
from sweep.plan import registry
from sweep.plan.names import did_you_mean, near
from sweep.runtime_environment import Environment

ONE_OF = {"pip", "uv", "conda", "image_uri", "py_executable"}
"""The keys of a runtime environment that say which interpreter its workers run: at most one of them."""

_KEYS = (*sorted(ONE_OF), "env_vars", "config")

_OF_ALL = ("working_dir", "py_modules")
"""Keys that hold for a whole sweep."""

_OF_PIP = ("packages", "pip_install_options")


@dataclass(frozen=True, kw_only=True, slots=True)
class ForConversions:
    """A runtime environment of Ray's, and the conversions that run in it: names, globs such as `*AUTOQUANT*`, or rules.

    Raises ValueError with all that is wrong with it.
    """

    conversions: tuple[str | Rule, ...]
    runtime_env: Mapping[str, Any]

    def __post_init__(self) -> None:
        problems = [] if self.conversions else ["conversions must name one at least"]
        problems += [] if self.runtime_env else ["runtime_env must hold something, such as {pip: [torchao==0.16.0]}"]
        for key in self.runtime_env:
            if key in _OF_ALL:
                problems.append(f"runtime_env.{key} holds for all cells: write it as dispatch.{key}")
            elif key not in _KEYS:
                hint = did_you_mean(near(key, _KEYS)) or f": there are {', '.join(_KEYS)}"
                problems.append(f"unknown key runtime_env.{key}{hint}")
        if len(several := [key for key in self.runtime_env if key in ONE_OF]) > 1:
            problems.append(f"runtime_env has {' and '.join(several)}: one of them can say which Python runs")
        problems += [*_wrong_pip(self.runtime_env.get("pip", [""])), *_wrong_values(self.runtime_env)]
        if problems:
            raise ValueError("; ".join(problems))

    def takes(self, conversion: str, mode: Mode | None) -> bool:
        return any(_matches(conversion, mode, pattern) for pattern in self.conversions)


def _matches(conversion: str, mode: Mode | None, pattern: str | Rule) -> bool:
    if isinstance(pattern, str):
        return fnmatchcase(conversion, pattern)
    return mode is not None and bool(registry.select(pattern, {conversion: mode}))


def _wrong_pip(pip: Any) -> Iterator[str]:
    if isinstance(pip, Mapping):
        unknown = [key for key in pip if key not in _OF_PIP]
        yield from (f"unknown key runtime_env.pip.{key}: there are {', '.join(_OF_PIP)}" for key in unknown)
        lists = {key: pip.get(key, None if key == "packages" else []) for key in _OF_PIP}
    else:
        lists = {"packages": pip}
    for key, value in lists.items():
        if not _are_texts(value) or (key == "packages" and not value):
            where = f"runtime_env.pip.{key}" if isinstance(pip, Mapping) else "runtime_env.pip"
            yield f"{where} must be a list of requirements, such as [einops], or the path of a file that has them"


def _wrong_values(runtime_env: Mapping[str, Any]) -> Iterator[str]:
    texts = [key for key in ("image_uri", "py_executable") if not isinstance(runtime_env.get(key, ""), str)]
    yield from (f"runtime_env.{key} must be a text" for key in texts)
    variables = runtime_env.get("env_vars", {})
    if not isinstance(variables, Mapping) or not all(isinstance(value, str) for value in variables.values()):
        yield "runtime_env.env_vars must hold a text for each variable, such as {NAME: value}"


def _are_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)


def of(conversion: str, mode: Mode | None, environments: Mapping[str, ForConversions]) -> Environment | None:
    """The environment that a conversion runs in; None for its node's own."""
    for name, one in environments.items():
        if one.takes(conversion, mode):
            return Environment(name=name, runtime_env=one.runtime_env)
    return None


def needed(environments: Mapping[str, ForConversions], requests: Iterable[Request]) -> list[Environment]:
    """Those that cells may run in, as far as that can be told before it is known which conversions there are."""
    asked = [request.conversions for request in requests]
    named = {name for names in asked if isinstance(names, tuple) for name in names}
    by_rule = any(not isinstance(names, tuple) for names in asked)
    return [
        Environment(name=name, runtime_env=one.runtime_env)
        for name, one in environments.items()
        if by_rule
        or not all(isinstance(pattern, str) for pattern in one.conversions)
        or any(one.takes(name, None) for name in named)
    ]


def wrong_names(environments: Mapping[str, ForConversions]) -> list[str]:
    """The names that no environment can have, in words."""
    return [
        f"environments: {name!r} is no name for an environment"
        for name in environments
        if not re.fullmatch(r"[\w.-]+", str(name))
    ]


def problems(environments: Mapping[str, ForConversions], asked: Sequence[str], modes: Mapping[str, Mode]) -> list[str]:
    """Conversions of environments that do not exist, and those that are in two; `asked` are the names asked for."""
    known = dict.fromkeys([*modes, *asked])
    found = []
    for name, one in environments.items():
        for pattern in one.conversions:
            if isinstance(pattern, str) and not any(fnmatchcase(conversion, pattern) for conversion in known):
                hint = did_you_mean(near(pattern, list(modes)))
                found.append(f"environments.{name}: unknown conversion {pattern!r}{hint}")
    for conversion in known:
        mode = modes.get(conversion)
        if len(several := [name for name, one in environments.items() if one.takes(conversion, mode)]) > 1:
            found.append(f"environments: {conversion} is in {' and '.join(several)}, and can run in one of them only")
    return found


def unused(environments: Mapping[str, ForConversions], asked: Iterable[str], modes: Mapping[str, Mode]) -> list[str]:
    """The environments that none of the conversions that are asked for runs in, in words."""
    names = list(asked)
    return [
        f"environments.{name}: none of its conversions is asked for"
        for name, one in environments.items()
        if not any(one.takes(conversion, modes.get(conversion)) for conversion in names)
    ]
