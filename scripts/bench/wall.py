"""How long does a whole sweep take? Beside it, alma's own `benchmark_model` over the same modes.

Both begin each mode with cold compile caches, on the same model (resnet18, batch 1, random weights). alma forks a
process for each mode, one after the other, and times the conversion alone, SAMPLES times. Sweep times the unconverted
model too, checks the outputs and the engine, converts as many cells at a time as the machine has CPUs, and goes on with
further trials as its measure says. It prints when every cell had its row, too. The limit is what sweep's cells spent in
phases that they have the machine for, and in all others divided by the CPUs.

    .venv/bin/python scripts/bench/wall.py [CONVERSIONS, a preset: fp32] [SAMPLES: 128] [OVERRIDES…]
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sweep.isolate import survey
from sweep.plan import validate
from sweep.plan.cells import expand
from sweep.request.compose import compose


def main(preset: str, samples: int, overrides: list[str]) -> None:
    arguments = ["+model=resnet", f"conversions={preset}", "device=cpu", *overrides]
    modes = ready(arguments)
    print(f"{len(modes)} modes, {os.cpu_count()} CPUs", flush=True)
    sweep, whole, rows = by_sweep(arguments)
    print(f"sweep {sweep:.0f} s; every cell had its row after {whole:.0f} s", flush=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    theirs = sum(by_alma(mode, samples) for mode in modes)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = (used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime) / theirs / (os.cpu_count() or 1)
    print(f"alma  {theirs:.0f} s, in which it kept the CPUs {busy:.0%} busy: less of its time no schedule can take")
    phases = {name: sum(row["seconds"][name] or 0 for row in rows) for name in rows[0]["seconds"]}
    alone = sum(phases[name] for name in ("eager", "warmup", "measure", "verify"))
    cpus = os.cpu_count() or 1
    print("phases of all cells: " + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in phases.items()))
    print(f"sweep / alma  {sweep / theirs:.2f}, until every cell had its row {whole / theirs:.2f}")
    print(f"sweep / limit {sweep / (alone + (phases['total'] - alone) / cpus):.2f}")


def ready(arguments: list[str]) -> list[str]:
    """The modes that can run here."""
    composed = compose([*arguments, f"hydra.sweep.dir={tempfile.gettempdir()}/unused"])
    assert composed is not None
    here = survey.local()
    cells, _ = validate.split_by_eligibility(expand(composed[0], here.modes), [here])
    return [cell.conversion for cell in cells]


def by_sweep(arguments: list[str]) -> tuple[float, float, list[dict[str, dict[str, float]]]]:
    """Seconds from the command to its end, Ray's start among them, and until the matrix is whole; and what ran."""
    with tempfile.TemporaryDirectory() as folder:
        began, whole = time.monotonic(), None
        command = [sys.executable, "-m", "sweep", *arguments, f"hydra.sweep.dir={folder}/run"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout or ():
                if line.startswith("Every cell has its row") and whole is None:
                    whole = time.monotonic() - began
        assert process.returncode == 0, "the sweep failed"
        seconds = time.monotonic() - began
        rows = [json.loads(line) for line in (Path(folder) / "run" / "results.jsonl").read_text().splitlines()]
    return seconds, whole or seconds, [row for row in rows if row["seconds"]["total"]]


def by_alma(mode: str, samples: int) -> float:
    """Seconds of `benchmark_model` on one mode; what a caller imports once, before the first, is not counted."""
    import torch

    from sweep.child import compat

    compat.before_import()
    import alma.conversions.select  # noqa: F401

    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        compat.before_conversion()
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{folder}/inductor"
        os.environ["TORCH_EXTENSIONS_DIR"] = f"{folder}/extensions"
        from alma.benchmark import BenchmarkConfig
        from alma.benchmark_model import benchmark_model
        from alma.conversions.conversion_options import MODEL_CONVERSION_OPTIONS

        config = BenchmarkConfig(
            n_samples=samples,
            batch_size=1,
            multiprocessing=True,
            fail_on_error=False,
            allow_device_override=False,
            allow_cuda=False,
            allow_mps=False,
            device=torch.device("cpu"),
        )
        chosen = [option for option in MODEL_CONVERSION_OPTIONS.values() if option.mode == mode]
        began = time.monotonic()
        said = benchmark_model(resnet, config, chosen, data=torch.randn(3, 224, 224))
        seconds = time.monotonic() - began
        os.chdir(Path(__file__).parent)
    print(f"  alma {mode} {seconds:.1f} s, {said[mode]['status']}", file=sys.stderr, flush=True)
    return seconds


def resnet() -> object:
    import torchvision

    return torchvision.models.resnet18(weights=None)


if __name__ == "__main__":
    main(
        sys.argv[1] if len(sys.argv) > 1 else "fp32",
        int(sys.argv[2]) if len(sys.argv) > 2 else 128,
        sys.argv[3:],
    )
