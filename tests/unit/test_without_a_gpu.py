"""What a machine cannot check is said, and is not among what passed."""

import subprocess
import sys
from pathlib import Path

from tests.conftest import HAS_GPU, collect_ignore

ROOT = Path(__file__).resolve().parents[2]


def test_a_run_without_a_gpu_says_that_cuda_was_not_checked() -> None:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-n0", "-p", "no:cacheprovider"]
    ran = subprocess.run([*command, "tests/unit/test_kernels.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ("CUDA was not checked" in ran.stdout) is not HAS_GPU
    assert ("cuda" in collect_ignore) is not HAS_GPU
    assert (ROOT / "tests" / "cuda" / "test_cuda.py").exists()
