"""Prints the reference of every option, made from the configuration and the comments in it."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

CONF = Path(__file__).resolve().parents[1] / "conf"
GROUPS = {
    "measure": "How latencies are sampled and outputs compared. `measure=quick` takes one process a cell, not three.",
    "limits": "What a cell may take.",
    "dispatch": "Who carries cells to where they run. `dispatch=serial` is one cell after the other, without Ray.",
}
LINE = re.compile(r"(?P<indent> *)(?P<key>\w+):(?: (?P<value>.*?))?(?: # (?P<said>.*))?$")
LEFT_OUT = {"defaults", "hydra"}


def main() -> None:
    print("# Options\n")
    print(
        "Every option, its default, and what it is for; made from the files in `conf/`. `python -m sweep --help` shows"
    )
    print("them with the values of the moment. A value with commas is a grid: `batch_size=1,8`.\n")
    _table("", (CONF / "config.yaml").read_text(encoding="utf-8"))
    for group, about in GROUPS.items():
        name = "ray" if group == "dispatch" else "default"
        print(f"\n## {group}\n\n{about}\n")
        _table(f"{group}.", (CONF / group / f"{name}.yaml").read_text(encoding="utf-8"))
    print("\n## tolerance\n")
    print(
        "How far an output may be from eager's, by what a mode computes in: "
        "`multiple` times what an honest conversion loses"
    )
    print("on the model, `rel_l2` at least; `otherwise`, where that cannot be found. `tolerance.fp32.rel_l2=1e-5`.\n")
    _tolerances((CONF / "tolerance" / "default.yaml").read_text(encoding="utf-8"))
    print("\n## Choices\n")
    for group in ("model", "conversions", "device"):
        names = ", ".join(f"`{path.stem}`" for path in sorted((CONF / group).glob("*.yaml")))
        option = f"{'+' * (group == 'model')}{group}="
        print(f"- `{option}`: {names}; a file of yours in `{group}/` below `--config-dir` adds one.")


def _table(prefix: str, text: str) -> None:
    print("| option | default | |\n| --- | --- | --- |")
    for key, value, said in options(text):
        print(f"| `{prefix}{key}` | `{value}` | {said.replace('|', chr(92) + '|')} |")


def options(text: str) -> Iterator[tuple[str, str, str]]:
    """Dotted name, default and comment of each option; exits where one has no comment."""
    parent = ""
    for line in text.splitlines():
        found = LINE.fullmatch(line)
        if found is None:
            continue
        key = found["key"] if not found["indent"] else f"{parent}.{found['key']}"
        if not found["indent"]:
            parent = found["key"]
        if parent in LEFT_OUT or not found["value"]:
            continue
        if not found["said"]:
            sys.exit(f"{key} has no comment that says what it is for")
        yield key, found["value"], found["said"]


def _tolerances(text: str) -> None:
    names = ("rel_l2", "multiple", "otherwise", "source")
    print("| class | `rel_l2` | `multiple` | `otherwise` | where it comes from |\n| --- | --- | --- | --- | --- |")
    classes: dict[str, dict[str, str]] = {}
    name = ""
    for found in filter(None, map(LINE.fullmatch, text.splitlines())):
        if not found["indent"]:
            name = found["key"]
        else:
            classes.setdefault(name, {})[found["key"]] = found["value"]
    for name, figures in classes.items():
        print(f"| `{name}` | {' | '.join(figures.get(key, '–') for key in names)} |")


if __name__ == "__main__":
    main()
