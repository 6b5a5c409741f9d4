"""Sees to it that what this process started elsewhere, such as a local Ray, does not outlive it, however it ends."""

import os
import subprocess
import sys
import uuid
from collections.abc import Mapping


class Guard:
    """Ends every process that has its `mark` in its environment once this process is gone, or has closed the guard."""

    def __init__(self, variable: str) -> None:
        name = uuid.uuid4().hex
        self.mark: Mapping[str, str] = {variable: name}
        """To be in the environment of what is started, and only then: this process may start others of its own."""
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

    def close(self) -> None:
        """End what is left now, and wait for it."""
        os.close(self._ours)
        self._process.wait()
