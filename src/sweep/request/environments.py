"""The environments of a request as they were written: presets as what is in them, files by their whole paths."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def with_presets(plain: Any, preset: Callable[[str], Any]) -> Any:
    """A configuration in which environments name the conversions of their presets; `preset` gives what is in one, None
    for any other name.
    """
    nodes = plain.get("environments")
    for node in nodes.values() if isinstance(nodes, dict) else ():
        if isinstance(node, dict) and isinstance(names := node.get("conversions"), str | list):
            every = [names] if isinstance(names, str) else names
            node["conversions"] = [found for name in every for found in _of_preset(name, preset)]
    return plain


def _of_preset(name: Any, preset: Callable[[str], Any]) -> list[Any]:
    content = preset(name) if isinstance(name, str) and re.fullmatch(r"[\w-]+", name) else None
    if not isinstance(content, dict):
        return [name]
    return content["names"] if isinstance(content.get("names"), list) else [content.get("rule")]


def resolved(node: Any) -> Any:
    """An entry of `environments` with whole paths in the requirements of pip, and variables as texts. What is wrong
    with it stays, for whoever reads it.
    """
    if not isinstance(node, dict) or not isinstance(runtime_env := node.get("runtime_env"), dict):
        return node
    return {**node, "runtime_env": _resolved(runtime_env)}


def _resolved(runtime_env: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(runtime_env)
    pip = found.get("pip")
    if isinstance(pip, str):
        found["pip"] = _lines(Path(pip))
    elif isinstance(pip, list):
        found["pip"] = [_whole(one) for one in pip]
    elif isinstance(pip, dict) and isinstance(pip.get("packages"), list):
        found["pip"] = {**pip, "packages": [_whole(one) for one in pip["packages"]]}
    if isinstance(variables := found.get("env_vars"), dict):
        found["env_vars"] = {name: _as_text(value) for name, value in variables.items()}
    return found


def _lines(file: Path) -> list[str] | str:
    """The requirements in a file; its path, which is no list, where it cannot be read."""
    try:
        lines = [line.split(" #")[0].strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError):
        return str(file)
    return [_whole(line, file.parent) for line in lines if line and not line.startswith("#")]


def _whole(requirement: Any, folder: Path = Path()) -> Any:
    """A requirement; of a file or a folder its whole path."""
    if not isinstance(requirement, str) or not ("/" in requirement or requirement.endswith(".whl")):
        return requirement
    path = (folder / requirement).expanduser()
    return str(path.absolute()) if path.exists() else requirement


def _as_text(value: Any) -> Any:
    """Ray takes texts only."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value
