"""What pyproject.toml claims of versions, what was run of it, and the page that says so; for versions.py. Pure."""

import hashlib
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EXTRAS = ("mlflow", "timm", "hf", "diffusers")
"""Without `tensorrt`, which needs a GPU."""
TOOLS = ("pytest", "pytest-xdist")
"""What the unit tests need of the extra `dev`."""
STEPS = {
    "install": "installed",
    "unit": "unit tests",
    "ray": "on Ray",
    "serial": "`dispatch=serial`",
    "libraries": "models of libraries",
}
"""What is done in an environment, and what the page calls it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """Which Python and which versions; `without` are packages that it must not have."""

    python: str
    packages: str
    without: tuple[str, ...] = ()


ENVIRONMENTS: Mapping[str, Environment] = {
    "tested": Environment(python="3.11", packages="tested"),
    "oldest": Environment(python="3.11", packages="oldest"),
    "newest": Environment(python="3.11", packages="newest"),
    "without-ray": Environment(python="3.11", packages="tested", without=("ray",)),
    "python3.12": Environment(python="3.12", packages="tested"),
    "python3.13": Environment(python="3.13", packages="tested"),
}
PACKAGES = {
    "oldest": "the lower end of each range",
    "tested": "`constraints.txt`",
    "newest": "the newest that the ranges allow",
}


class Unclaimed(Exception):
    """Requirements whose ranges have no lower end, all of them in one message."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What came of a part of `STEPS`, and whether it is what was expected."""

    said: str
    holds: bool


@dataclass(kw_only=True)
class Found:
    """What is known of an environment. `not_run` says why something was not run there; `ranges` is `digest` of then."""

    name: str
    ranges: str
    on: str = ""
    python: str = ""
    not_run: str = ""
    steps: dict[str, Step] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        if not all(step.holds for step in self.steps.values()):
            return "failed"
        if self.not_run:
            return "in part" if self.steps else "not run"
        return "passed"


def claimed(pyproject: Mapping[str, Any], extras: Iterable[str], without: Iterable[str] = ()) -> list[Requirement]:
    """The requirements of the project and of these extras, but for those `without`."""
    project = pyproject["project"]
    lines = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    left_out = {canonicalize_name(name) for name in without}
    return [found for found in map(Requirement, lines) if canonicalize_name(found.name) not in left_out]


def tools(pyproject: Mapping[str, Any]) -> list[Requirement]:
    """What the project is built by, and its unit tests are run by."""
    dev = map(Requirement, pyproject["project"]["optional-dependencies"]["dev"])
    return [*map(Requirement, pyproject["build-system"]["requires"]), *(found for found in dev if found.name in TOOLS)]


def lower_end(requirement: Requirement) -> str | None:
    """The oldest version that a range allows: of `>=2.3,<2.4` it is 2.3; None where it has no lower end."""
    ends = [one.version for one in requirement.specifier if one.operator in {">=", "==", "~="}]
    return ends[0] if len(ends) == 1 and not ends[0].endswith("*") else None


def range_of(requirement: Requirement) -> str:
    """As pyproject.toml has it, with the lower end first."""
    return ",".join(sorted(map(str, requirement.specifier), reverse=True))


def oldest(requirements: Iterable[Requirement]) -> list[str]:
    """Constraints for pip that hold each to the lower end of its range. Raises Unclaimed."""
    ends = {str(requirement): (requirement.name, lower_end(requirement)) for requirement in requirements}
    if missing := [asked for asked, (_, end) in ends.items() if end is None]:
        raise Unclaimed(f"no lower end in pyproject.toml: {', '.join(missing)}")
    return [f"{name}=={end}" for name, end in ends.values()]


def torch_pin(constraints: str) -> str:
    """The tested torch, which is that of every environment."""
    return next(line for line in constraints.splitlines() if line.startswith("torch=="))


def pins(packages: str, pyproject: Mapping[str, Any], constraints: str) -> list[str]:
    """Constraints for pip, for one of `PACKAGES`. Raises Unclaimed."""
    match packages:
        case "tested":
            return constraints.splitlines()
        case "oldest":
            rest = [*claimed(pyproject, EXTRAS, without=["torch"]), *tools(pyproject)]
            return [torch_pin(constraints), *oldest(rest)]
        case _:
            return [torch_pin(constraints)]


def cuda_packages(report: Mapping[str, Any]) -> list[str]:
    """What CUDA consists of among the requirements of what pip would install, by its `--report`."""
    lines = [line for one in report["install"] for line in one["metadata"].get("requires_dist", ())]
    names = [canonicalize_name(Requirement(line).name) for line in lines]
    return [name for name in names if name.startswith(("nvidia-", "cuda-"))]


def digest(pyproject: Mapping[str, Any], constraints: str) -> str:
    """Another one when what is claimed or tested is: what was found before that says nothing any more."""
    every = [str(one) for one in (*claimed(pyproject, EXTRAS), *tools(pyproject))]
    return hashlib.sha256("\n".join([*every, constraints]).encode()).hexdigest()[:16]


def of_rows(rows: Sequence[Mapping[str, Any]], asked: int) -> Step:
    """All rows that were asked for are there, and ok; those that are not ok are named."""
    others = [
        f"{row['conversion']} {row['status']}" + (f"/{row['reason']}" if row["reason"] else "")
        for row in rows
        if row["status"] != "ok"
    ]
    said = "; ".join([f"{len(rows) - len(others)} of {asked} ok", *others])
    return Step(said=said, holds=len(rows) == asked and not others)


def of_tests(junit: str) -> Step:
    """By the report that pytest writes for CI: there are some, and none failed."""
    suites = list(ET.fromstring(junit).iter("testsuite"))
    counts = {
        name: sum(int(suite.attrib[name]) for suite in suites) for name in ("tests", "failures", "errors", "skipped")
    }
    passed = counts["tests"] - counts["failures"] - counts["errors"] - counts["skipped"]
    words = {"failed": counts["failures"], "with errors": counts["errors"], "skipped": counts["skipped"]}
    said = ", ".join([f"{passed} passed", *(f"{count} {word}" for word, count in words.items() if count)])
    return Step(said=said, holds=passed > 0 and not counts["failures"] + counts["errors"])


def page(found: Sequence[Found], pyproject: Mapping[str, Any], constraints: str) -> str:
    """Two tables in Markdown: what was run in each environment, and which versions that were."""
    lines = (*_environments(found, pyproject, constraints), "", *_ranges(found, pyproject))
    return "".join(f"{line}\n" for line in lines)


def _environments(found: Sequence[Found], pyproject: Mapping[str, Any], constraints: str) -> Iterator[str]:
    yield from (
        *("# Versions", ""),
        "What `pyproject.toml` claims, and what of it was run. `scripts/versions` makes this page: for each line it",
        "makes an environment with pip, runs the unit tests in it, then nine conversions of a small model on a local",
        "Ray and with `dispatch=serial`, and a model of each library unconverted. Every row of these sweeps must be",
        f"`ok`. All of it is on Linux, x86_64, without a GPU, with {torch_pin(constraints).replace('==', ' ')}.",
        "",
        f"| environment | Python | packages | {' | '.join(STEPS.values())} | all in all | on |",
        "| --- " * (len(STEPS) + 5) + "|",
    )
    for one in found:
        environment = ENVIRONMENTS[one.name]
        packages = PACKAGES[environment.packages] + "".join(f", no {name}" for name in environment.without)
        steps = [one.steps[name].said if name in one.steps else "–" for name in STEPS]
        verdict = one.verdict if one.verdict == "passed" else f"**{one.verdict}**"
        cells = [one.name, one.python or environment.python, packages, *steps, verdict, one.on or "–"]
        yield f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
    yield ""
    yield from (f"- **{one.name}**: {one.not_run}." for one in found if one.not_run)
    python = pyproject["project"]["requires-python"]
    yield f"- `requires-python` is `{python}`: what that allows beyond these lines was not run."
    yield "- The extra `tensorrt` and everything else that needs a GPU was not run here: see [CUDA](cuda.md)."


def _ranges(found: Sequence[Found], pyproject: Mapping[str, Any]) -> Iterator[str]:
    yield "| package | claimed | " + " | ".join(PACKAGES) + " |"
    yield "| --- " * (2 + len(PACKAGES)) + "|"
    by_name = {one.name: one for one in found}
    for requirement in claimed(pyproject, EXTRAS):
        name = canonicalize_name(requirement.name)
        ran = [by_name[column].versions.get(name, "–") if column in by_name else "–" for column in PACKAGES]
        yield f"| {name} | `{range_of(requirement)}` | {' | '.join(ran)} |"
