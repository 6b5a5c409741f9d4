"""Does every check count? Changes one condition, comparison or answer of a file at a time, and runs tests on each.

A mutant that no test fails for is printed: either a check that nothing tests, or code that is not needed.

    .venv/bin/python scripts/mutate.py src/sweep/verdict/output.py -- tests/unit/test_output.py
"""

import ast
import copy
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OPPOSITE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OTHER_CALL = {"max": "min", "min": "max", "all": "any", "any": "all"}


def mutants(tree: ast.Module) -> Iterator[tuple[int, str, ast.Module]]:
    """The line, what was done there, and the file so changed."""
    nodes = list(ast.walk(tree))
    for at, node in enumerate(nodes):
        for said, change in _changes(node):
            mutant = copy.deepcopy(tree)
            change(list(ast.walk(mutant))[at])
            yield node.lineno, said, ast.fix_missing_locations(mutant)  # type: ignore[attr-defined]


def _changes(node: ast.AST) -> Iterator[tuple[str, object]]:
    match node:
        case ast.If() | ast.IfExp():
            yield f"`{ast.unparse(node.test)}` is always true", lambda n: setattr(n, "test", ast.Constant(True))
            yield f"`{ast.unparse(node.test)}` is always false", lambda n: setattr(n, "test", ast.Constant(False))
        case ast.Compare(ops=[op]):
            yield f"`{ast.unparse(node)}` turned round", lambda n: setattr(n, "ops", [OPPOSITE[type(op)]()])
        case ast.BoolOp():
            other = ast.Or if isinstance(node.op, ast.And) else ast.And
            yield f"`{ast.unparse(node)}` with {other.__name__.lower()}", lambda n: setattr(n, "op", other())
        case ast.Call(func=ast.Name(id=name)) if name in OTHER_CALL:
            yield f"{name} is {OTHER_CALL[name]}", lambda n: setattr(n.func, "id", OTHER_CALL[name])
        case ast.Return(value=ast.AST()) if not isinstance(node.value, ast.Constant):
            yield f"`{ast.unparse(node)}` is None", lambda n: setattr(n, "value", ast.Constant(None))


def main(file: str, tests: list[str]) -> int:
    survivors = count = 0
    tree = ast.parse((ROOT / file).read_text())
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "src", Path(folder) / "src")
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
        environment = os.environ | {"PYTHONPATH": f"{folder}/src"}
        for line, said, mutant in mutants(tree):
            count += 1
            (Path(folder) / file).write_text(ast.unparse(mutant))
            ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False)
            if ended.returncode == 0:
                survivors += 1
                print(f"{file}:{line}: no test fails where {said}", flush=True)
    print(f"{count - survivors} of {count} mutants were found out")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[3:]))
