"""How every command of sweep ends: with which exit code, and with which message on standard error."""

import sys
import traceback
from collections.abc import Callable
from contextlib import suppress

from sweep import streams
from sweep.errors import BadRequest, ExitCode, SweepError

EXIT_CODES = "3 interrupted; 4 a bug in sweep"
"""Those that every command has besides its own."""


def run_command(name: str, work: Callable[[], int]) -> int:
    """The exit code of `work`, or of the error that ended it, which is printed after `name`.

    Raises nothing but SystemExit.
    """
    streams.open_closed_ones()
    try:
        return work()
    except BadRequest as error:
        heading = f"{name}: " if len(error.problems) == 1 else f"{name}: {len(error.problems)} problems\n  "
        _print_error(heading + "\n  ".join(error.problems))
        return error.exit_code
    except SweepError as error:
        _print_error(f"{name}: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        _print_error(f"{name}: interrupted")
        return ExitCode.INTERRUPTED
    except Exception:
        _print_error(traceback.format_exc())
        _print_error(f"{name}: this is a bug in sweep; what was written to the run folder is kept")
        return ExitCode.BUG


def _print_error(text: str) -> None:
    with suppress(OSError, ValueError):  # nobody reads it any more: the exit code says it, too
        print(text, file=sys.stderr)
