"""Imports flow one way, from the doors down to the nouns, between packages and inside them."""

import ast
from pathlib import Path

import pytest

import sweep

ROOT = Path(sweep.__file__).parent
ORDER = [
    {"errors", "devices", "inputs", "user_data", "options", "runtime_environment", "reading", "stats", "moderation"}
    | {"shared_memory"},
    {"machine", "reaper", "interrupts", "durable", "leftovers", "streams"},
    {"cell", "ending", "lock"},
    {"status", "evidence"},
    {"result"},
    {"plan", "journal"},
    {"record"},
    {"request"},
    {"keeper"},
    {"verdict"},
    {"isolate"},
    {"dispatch"},
    {"report"},
    {"compare", "pick"},
    {"app", "modes", "rerun"},
    {"api"},
    {"__main__"},
]
"""The nouns first, then the stages, each a module or a package; what stands higher may import what stands lower."""

PURE = {
    *(
        "cell",
        "devices",
        "evidence",
        "result",
        "status",
        "errors",
        "inputs",
        "user_data",
        "options",
        "runtime_environment",
        "stats",
        "moderation",
        "plan",
        "verdict",
        "dispatch.backlog",
        "dispatch.rounds",
        "compare.comparison",
        "compare.significance",
    ),
    *("compare.matching", "pick.choosing", "pick.script"),
    *(f"report.{name}" for name in ("best", "columns", "junit", "matrix", "text")),
}
ACTING = {"os", "pathlib", "time", "random", "subprocess", "ray", "hydra", "omegaconf", "torch", "alma", "socket"}
FOR_A_CHILD = {
    "cell",
    "devices",
    "evidence",
    "inputs",
    "user_data",
    "options",
    "runtime_environment",
    "stats",
    "machine",
    "reaper",
    "reading",
    "shared_memory",
    "child",
}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


FILES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}
PARENT = [name for name in FILES if name and name.partition(".")[0] != "child"]


def imported(name: str) -> set[str]:
    """Every module that a module imports, wherever in it; of sweep's own, its name below `sweep`."""
    found = set()
    for node in ast.walk(ast.parse(FILES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = {full for full in inner if full.removeprefix("sweep.") in FILES}
            found |= modules | ({node.module} if inner - modules else set())
    return {full.removeprefix("sweep.") if full != "sweep" else "" for full in found}


def test_every_module_has_its_place() -> None:
    assert {name.partition(".")[0] for name in PARENT} == set(LEVEL)


@pytest.mark.parametrize("name", PARENT)
def test_a_module_imports_only_from_below(name: str) -> None:
    package = name.partition(".")[0]
    used = {other.partition(".")[0] for other in imported(name) if other in FILES and other} - {package}
    assert not {other for other in used if LEVEL[other] >= LEVEL[package]}


def test_no_imports_go_in_a_circle() -> None:
    ahead = {name: {other for other in imported(name) if other in FILES and other} for name in FILES if name}
    while free := {name for name, needs in ahead.items() if not needs & ahead.keys()}:
        ahead = {name: needs for name, needs in ahead.items() if name not in free}
    assert not ahead


@pytest.mark.parametrize("name", [name for name in PARENT if {name, name.partition(".")[0]} & PURE])
def test_a_pure_module_imports_nothing_that_acts(name: str) -> None:
    assert not {other.partition(".")[0] for other in imported(name)} & ACTING


@pytest.mark.parametrize("name", [name for name in FILES if name.partition(".")[0] == "child"])
def test_a_child_imports_what_knows_no_sweep_and_itself(name: str) -> None:
    assert {other.partition(".")[0] for other in imported(name) if other in FILES} <= FOR_A_CHILD


@pytest.mark.parametrize("name", PARENT)
def test_the_parent_knows_the_child_by_name_only(name: str) -> None:
    assert not [other for other in imported(name) if other.partition(".")[0] == "child"]
