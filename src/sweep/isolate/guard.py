"""Sees to it that what this process started elsewhere, such as a local Ray, does not outlive it, however it ends."""

import os
import subprocess
import sys
import uuid


class Guard:
    """Ends every process with `variable` in its environment once this process is gone, or has closed the guard."""

    def __init__(self, variable: str) -> None:
        name = uuid.uuid4().hex
        theirs, self._ours = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "sweep.reaper", str(theirs), f"{variable}={name}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[theirs],
            start_new_session=True,
        )
        os.close(theirs)
        os.environ[variable] = name

    def close(self) -> None:
        """End what is left now, and wait for it."""
        os.close(self._ours)
        self._process.wait()
