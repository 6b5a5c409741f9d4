"""Runs cells in processes of their own."""

from sweep.isolate.cell import close, run
from sweep.isolate.supervisor import Supervisor, Withdrawn

__all__ = ["Supervisor", "Withdrawn", "close", "run"]
