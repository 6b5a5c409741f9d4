"""How a whole sweep is carried out: what no single cell knows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sweep.cell import Status


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    run_dir: Path
    dispatch: Literal["ray", "serial"] = "ray"
    address: str | None = None
    on_invalid: Literal["record", "abort"] = "record"
    fail_on: tuple[Status, ...] = ()
    dry_run: bool = False
    command: tuple[str, ...] = ()
