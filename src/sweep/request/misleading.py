"""Refuses command lines that Hydra would silently take for something else than was meant."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from sweep.errors import BadRequest
from sweep.request import read
from sweep.request.resume import Argument


def refuse_misleading(overrides: Sequence[Argument], config_dir: str | None, shipped: Path) -> None:
    """Raise BadRequest for such overrides, and for configs in `config_dir` that `shipped`, sweep's own, would hide."""
    if config_dir and (hidden := sorted(_hidden_configs(Path(config_dir), shipped))):
        raise BadRequest(
            *(
                f"{path}: sweep has a {path.parent.name} {path.stem!r} of its own, which would be taken in "
                "its place: give yours another name"
                for path in hidden
            )
        )
    names = [override.key_or_group for override in overrides if not override.key_or_group.startswith("hydra")]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise BadRequest(*(f"{name} is given more than once: use {name}=a,b to run each" for name in repeated))
    outside = [str(o.input_line) for o in overrides if o.key_or_group in read.GROUPS and _leads_out_of_its_group(o)]
    if outside:
        raise BadRequest(*(f"{line}: a name must not lead out of its group" for line in outside))


def _hidden_configs(folder: Path, shipped: Path) -> Iterator[Path]:
    """The user's configs that Hydra would not find, because it looks at the shipped ones first."""
    for path in folder.glob("*/*.yaml"):
        if path.parent.name in read.GROUPS and (shipped / path.relative_to(folder)).exists():
            yield path


def _leads_out_of_its_group(override: Argument) -> bool:
    """Whether a value is a path to a config in another folder than the group's."""
    return any(
        part.strip(" '\"").startswith(("/", "..")) for part in str(override.input_line).partition("=")[2].split(",")
    )
