"""How every command of sweep ends: its exit code, whatever becomes of it, and what is said on standard error."""

import sys
import traceback
from collections.abc import Callable

from sweep.errors import BadRequest, ExitCode, SweepError


def of(name: str, work: Callable[[], int]) -> int:
    """The exit code of `work`; what there is to say is said of `name`. Raises nothing but SystemExit."""
    try:
        return work()
    except BadRequest as error:
        lead = f"{name}: " if len(error.problems) == 1 else f"{name}: {len(error.problems)} problems\n  "
        _say(lead + "\n  ".join(error.problems))
        return error.exit_code
    except SweepError as error:
        _say(f"{name}: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        _say(f"{name}: interrupted")
        return ExitCode.INTERRUPTED
    except Exception:
        traceback.print_exc()
        _say(f"{name}: this is a bug in sweep; what was written to the run folder is kept")
        return ExitCode.BUG


def _say(text: str) -> None:
    print(text, file=sys.stderr)
