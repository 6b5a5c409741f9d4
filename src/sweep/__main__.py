"""The command line: `python -m sweep +model=NAME … -m`."""

import sys
from collections.abc import Sequence
from io import TextIOWrapper

from sweep import interrupts
from sweep.errors import BadRequest, ExitCode, SweepError
from sweep.request.compose import compose


def main(arguments: Sequence[str]) -> ExitCode:
    interrupts.listen()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without our dots must not end a sweep
    try:
        composed = compose(arguments)
        if composed is None:
            return ExitCode.COMPLETE

        from sweep import app  # after the help: it brings what a run needs
        from sweep.report.terminal import Board

        return app.run(*composed, Board())
    except BadRequest as error:
        lead = "sweep: " if len(error.problems) == 1 else f"sweep: {len(error.problems)} problems\n  "
        print(lead + "\n  ".join(error.problems), file=sys.stderr)
        return error.exit_code
    except SweepError as error:
        print(f"sweep: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("sweep: interrupted", file=sys.stderr)
        return ExitCode.INTERRUPTED
    except Exception:
        import traceback

        traceback.print_exc()
        print("sweep: this is a bug in sweep; what was written to the run folder is kept", file=sys.stderr)
        return ExitCode.BUG


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
