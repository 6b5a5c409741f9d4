"""What a newcomer has to read at once stays small."""

import ast
from pathlib import Path

import pytest

import sweep

ROOT = Path(sweep.__file__).parent
OURS = [path for path in sorted(ROOT.rglob("*")) if path.is_file() and not {"vendor", "__pycache__"} & {*path.parts}]
MODULES = [path for path in OURS if path.suffix == ".py"]


def test_no_file_is_longer_than_300_lines() -> None:
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in OURS}
    assert {name: count for name, count in lines.items() if count > 300} == {}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_function_is_longer_than_45_lines(path: Path) -> None:
    functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    lengths = {node.name: (node.end_lineno or node.lineno) - node.lineno + 1 for node in functions}
    assert {name: count for name, count in lengths.items() if count > 45} == {}


def test_the_way_of_a_cell_fits_a_screen() -> None:
    (run,) = [node for node in ast.parse((ROOT / "app.py").read_text()).body if getattr(node, "name", "") == "run"]
    assert (run.end_lineno or 0) - run.lineno < 40
