"""How a whole sweep is carried out: what no single cell knows."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sweep.cell import Reason, Status


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    run_dir: Path
    dispatch: Literal["ray", "serial"] = "ray"
    address: str | None = None
    on_invalid: Literal["record", "abort"] = "record"
    fail_on: tuple[Status, ...] = ()
    dry_run: bool = False
    retries: int = 2
    resume: bool = False
    resume_anyway: bool = False
    retry: tuple[Status | Reason, ...] = ()
    command: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.retries < 0:
            raise ValueError("dispatch.retries must be at least 0")
        if self.retry and not self.resume:
            raise ValueError("retry goes with resume=FOLDER, or resume=last: it says which of its cells run again")
