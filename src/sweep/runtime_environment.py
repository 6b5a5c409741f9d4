"""An environment that conversions run in instead of their node's own: a runtime environment of Ray's, by a name."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """`runtime_env` is what Ray calls so. What is under `pip` is installed by sweep itself, see `isolate.venv`."""

    name: str
    runtime_env: Mapping[str, Any]

    @property
    def packages(self) -> tuple[str, ...]:
        """The lines of a requirements file of pip."""
        pip = self.runtime_env.get("pip", ())
        return tuple(pip["packages"] if isinstance(pip, Mapping) else pip)

    @property
    def pip_options(self) -> tuple[str, ...]:
        """What `pip install` is called with besides."""
        pip = self.runtime_env.get("pip", ())
        return tuple(pip.get("pip_install_options", ())) if isinstance(pip, Mapping) else ()

    @property
    def variables(self) -> Mapping[str, str]:
        """The variables that it sets."""
        variables: Mapping[str, str] = self.runtime_env.get("env_vars", {})
        return variables

    def of_ray(self, python: str | None = None) -> dict[str, Any]:
        """What Ray is asked for; `python` is the path of the interpreter that has the packages, if there are any."""
        rest = {name: value for name, value in self.runtime_env.items() if name != "pip"}
        return {**rest, "py_executable": shlex.quote(python)} if python else rest  # it becomes part of a shell's line
