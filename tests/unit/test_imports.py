"""Imports flow one way: the entry, then what composes and runs, then the stages, then the nouns."""

import ast
from pathlib import Path

import pytest

import sweep

ROOT = Path(sweep.__file__).parent
LAYERS = [
    {"cell", "errors"},
    {"arguments", "registry", "stats", "reaper", "crash", "interrupts", "reading"},
    {"rules"},
    {"settings"},
    {"validate", "plan", "verdict", "record"},
    {
        *("backlog", "report.matrix", "isolate"),
        *(f"isolate.{name}" for name in ("floor", "guard", "process", "site", "zygote")),
    },
    {"history", "report.text", "report.columns"},
    {"inventory"},
    {
        "dispatch",
        "dispatch.serial",
        "dispatch.station",
        "dispatch.post",
        "dispatch.ray",
        "report",
        *(
            f"report.{name}"
            for name in ("choice", "compared", "compared_json", "comparison", "difference", "files", "junit", "live")
        ),
        *(f"report.{name}" for name in ("matching", "notebook", "page", "parquet", "script", "terminal", "tracking")),
        *(f"report.page.{name}" for name in ("answers", "compact", "totals")),
        "report.__main__",
    },
    {"request", "runs"},
    {"app", "compose", "modes", "rerun", "compare", "pick"},
    {"api", "__main__"},
]
PURE = {
    "cell",
    "errors",
    "registry",
    "rules",
    "plan",
    "backlog",
    "crash",
    "stats",
    "validate",
    "verdict",
    "report.choice",
    "report.columns",
    "report.comparison",
    "report.difference",
    "report.junit",
    "report.matching",
    "report.matrix",
    "report.script",
    "report.text",
}
ACTING = {"os", "pathlib", "time", "random", "subprocess", "ray", "hydra", "omegaconf", "torch", "alma", "socket"}


def imports(path: Path) -> set[str]:
    """Every module a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def own(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


PARENT = [path for path in sorted(ROOT.rglob("*.py")) if "child" not in path.parts and own(path)]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


@pytest.mark.parametrize("path", PARENT, ids=own)
def test_a_module_imports_only_from_below(path: Path) -> None:
    used = {name.removeprefix("sweep.") for name in imports(path) if name.startswith("sweep.")} & set(LEVEL)
    package = own(path).partition(".")[0]
    above = {
        name
        for name in used
        if LEVEL[name] >= LEVEL[own(path)] and name.partition(".")[0] != package and name != own(path)
    }
    assert not above, f"{own(path)} imports {above}"


@pytest.mark.parametrize("path", [path for path in PARENT if own(path) in PURE], ids=own)
def test_a_pure_module_imports_nothing_that_acts(path: Path) -> None:
    assert not {name.partition(".")[0] for name in imports(path)} & ACTING


@pytest.mark.parametrize("path", sorted((ROOT / "child").glob("*.py")), ids=lambda path: path.name)
def test_a_child_imports_what_knows_no_sweep_and_itself(path: Path) -> None:
    used = {name for name in imports(path) if name.startswith("sweep.")}
    assert {name.split(".")[1] for name in used} <= {"cell", "stats", "reaper", "reading", "child"}


@pytest.mark.parametrize("path", PARENT, ids=own)
def test_the_parent_knows_the_child_by_name_only(path: Path) -> None:
    assert not [name for name in imports(path) if name.startswith("sweep.child")]
