"""Looks, on a machine with an NVIDIA GPU, whether what sweep says of CUDA is so; started by `scripts/prove-cuda`.

Each part ends with checks, each of which holds or does not; the exit code is 0 only if all of them hold, and what there
was no time for does not. Everything that was seen is written to the folder `--out`, by default prove-cuda/.

    lies     seven conversions that lie in ways that only a GPU has are mismatches, two honest ones are ok
    itself   EAGER against EAGER, five trials: the interval of its speed-up holds 1
    timing   the timer beside triton.testing.do_bench, of one sample and of 256, and of work on a side stream
    memory   what a model takes, beside what nvidia-smi has less
    line     the command line, with dispatch=serial and no Ray
    resnet   every mode of gpu_all on resnet18, with its evidence
    bert     the same on a small BERT

`--rehearse` does as much of it on the CPU as can be done there: that shows that this script works, and nothing of CUDA.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.cuda import cuda_cells
from tests.cuda.cuda_lies import HONEST, LIES, WITHOUT_A_GPU

from sweep import isolate, plan
from sweep.cell import Cell, Measure, Model
from sweep.isolate import survey
from sweep.plan import registry
from sweep.request.compose import compose
from sweep.result import Result

PARTS = ("lies", "itself", "timing", "memory", "line", "resnet", "bert")

NEEDED = (
    *("torch", "torchvision", "onnx", "onnxruntime", "scipy", "pandas", "pyarrow", "jinja2", "safetensors", "PIL"),
    *("hydra", "omegaconf", "antlr4", "yaml", "packaging", "alma", "optimum.quanto", "tqdm", "torchao"),
    *("pydantic", "pydantic_core", "annotated_types", "typing_inspection", "rich", "pygments", "markdown_it", "mdurl"),
)
"""Without these sweep cannot plan, or alma cannot be imported."""

MUST_BE_OK = (
    *("EAGER", "EXPORT+EAGER", "JIT_TRACE", "FP16+EAGER", "BF16+EAGER", "COMPILE_INDUCTOR_DEFAULT"),
    *("COMPILE_INDUCTOR_REDUCE_OVERHEAD", "COMPILE_CUDAGRAPHS", "EXPORT+COMPILE_CUDAGRAPHS", "EXPORT+AOT_INDUCTOR"),
)
"""Modes for which there is no reason not to be; of the others their rows say why not."""

MARGIN = 0.03
"""As `measure.margin`: so near to 1 is as fast as."""

WORKERS = 8
"""Cells that convert at a time: two CPUs for each of those that the machine has."""


@dataclass
class Proof:
    """What was seen so far, and until when there is time."""

    kind: str
    out: Path
    deadline: float
    checks: list[dict[str, Any]] = field(default_factory=list)

    def check(self, name: str, holds: bool, said: str) -> None:
        self.checks.append({"name": name, "holds": bool(holds), "said": said})
        print(f"{'holds ' if holds else 'FAILS '} {name}: {said}", flush=True)

    @property
    def left(self) -> float:
        return self.deadline - time.monotonic()

    @property
    def rehearses(self) -> bool:
        return self.kind == "cpu"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/prove-cuda")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--minutes", type=float, default=8.7, help="after so many nothing is begun any more")
    parser.add_argument("--out", type=Path, default=Path("prove-cuda"), help="folder for what was seen")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, to see that this script works")
    parser.add_argument("--inside", choices=["timing", "memory"], help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.inside:
        print(json.dumps(INSIDE[options.inside]()))
        return 0
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    if missing := [name for name in NEEDED if not _is_there(name)]:
        sys.exit(f"not installed: {', '.join(missing)}; put their wheels into .whl/ (docs/cuda.md says how)")
    kind = "cpu" if options.rehearse else "cuda"
    options.out.mkdir(parents=True, exist_ok=True)
    proof = Proof(kind, options.out.absolute(), time.monotonic() + 60 * options.minutes)
    here = survey.local()
    print(f"{here.hardware}; {', '.join(f'{name} {version}' for name, version in here.versions.items())}", flush=True)
    if kind not in here.devices:
        sys.exit("torch finds no CUDA device here: nothing was proved (--rehearse does what a CPU can)")
    (proof.out / "machine.json").write_text(json.dumps(_machine(here), indent=1))
    for part in options.parts or PARTS:
        print(f"\n== {part}", flush=True)
        if proof.left <= 0:
            proof.check(part, False, f"there was no time for it: scripts/prove-cuda {part}")
        else:
            BY_NAME[part](proof)
        (proof.out / "checks.json").write_text(json.dumps(proof.checks, indent=1))
    failed = [check["name"] for check in proof.checks if not check["holds"]]
    print(f"\n{len(proof.checks) - len(failed)} of {len(proof.checks)} checks hold", end="")
    print(f"; not: {', '.join(failed)}" if failed else "", flush=True)
    if proof.rehearses:
        print("This was a rehearsal on the CPU: nothing of CUDA was proved.")
    return 1 if failed else 0


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _machine(here: Any) -> dict[str, Any]:
    said = {"hardware": here.hardware, "versions": dict(here.versions), "facts": dict(here.facts)}
    smi = _smi("name,driver_version,memory.total,clocks.max.sm,power.limit")
    return {**said, "found": sorted(here.found), "nvidia_smi": smi}


def _smi(query: str) -> str | None:
    """What nvidia-smi says of the first GPU that it sees; None where there is none."""
    try:
        command = ["nvidia-smi", "-i", "0", f"--query-gpu={query}", "--format=csv,noheader,nounits"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def run(proof: Proof, cells: Sequence[Cell], workers: int = WORKERS) -> dict[str, Result]:
    """The rows of these cells by id, of as many as there is time for; several convert at a time, one measures."""
    rows: dict[str, Result] = {}
    with isolate.Supervisor(cells=workers) as supervisor, ThreadPoolExecutor(workers) as pool:

        def one(cell: Cell) -> None:
            if proof.left <= 0:
                return
            try:
                row = isolate.run(cell, supervisor).result
            except isolate.Withdrawn:
                return
            rows[cell.id] = row
            with (proof.out / "rows.jsonl").open("a") as file:
                file.write(json.dumps(asdict(row), default=str) + "\n")
            print(_line(row), flush=True)

        futures = [pool.submit(one, cell) for cell in cells]
        wait(futures, timeout=max(0.0, proof.left))
        supervisor.end()
        for future in futures:
            future.result()
    return rows


def _line(row: Result) -> str:
    """A row as a line to read: status, figures, and the evidence of what ran."""
    status = row.status + (f"/{row.reason}" if row.reason else "")
    latency = f"{row.latency_ms.p50:9.3f} ms" if row.latency_ms else " " * 12
    speedup = f"{row.speedup.value:6.2f}x" if row.speedup else " " * 7
    seen = ""
    if row.engine:
        share = f" {row.engine.share:.0%}" if row.engine.share is not None else ""
        names = ("kernels", "kernel_ms", "graph_launches")
        evidence = [f"{name} {row.engine.evidence[name]}" for name in names if name in row.engine.evidence]
        seen = f"{row.engine.actual}{share} {row.engine.precision} {' '.join(evidence)}"
    return f"  {status:22} {latency} {speedup}  {row.conversion:45} {seen}  {row.message[:150]}"


def requested(proof: Proof, *options: str) -> plan.Plan:
    """The plan for a request, as the command line takes it, on this machine."""
    composed = compose([*options, f"device={proof.kind}", "measure=quick", "dispatch=serial"])
    assert composed is not None
    requests, settings = composed
    return plan.make(requests, [survey.local()], settings.grid, settings.register)


def lies(proof: Proof) -> None:
    eager = requested(proof, "+model=mlp", "conversion=EAGER").cells[0]
    told = [name for name in LIES if not proof.rehearses or name in WITHOUT_A_GPU]
    honest = [] if proof.rehearses else list(HONEST)
    cells = {name: cuda_cells.of_lie(name, eager.device, eager.tolerance) for name in (*told, *honest)}
    rows = run(proof, list(cells.values()), workers=4)
    for name, cell in cells.items():
        row = rows.get(cell.id)
        wanted = "ok" if name in honest else "mismatch"
        said = f"{row.status}/{row.reason}: {row.message[:200]}" if row else "there was no time for it"
        proof.check(f"lies {name}", row is not None and row.status == wanted, said)


def itself(proof: Proof) -> None:
    (cell,) = requested(proof, "+model=mlp" if proof.rehearses else "+model=resnet", "conversion=EAGER").ready
    measured = replace(cell.measure, trials=5, seconds=1.0, max_warmup_seconds=1.0)
    row = run(proof, [replace(cell, measure=measured)], workers=1).get(cell.id)
    if row is None or row.speedup is None:
        proof.check("itself", False, row.message if row else "there was no time for it")
        return
    low, high = row.speedup.low, row.speedup.high
    trials = ", ".join(f"{one.value:.3f}" for one in row.speedup.quotients)
    holds = low <= 1 + MARGIN and high >= 1 - MARGIN and not any(one.disturbed for one in row.speedup.quotients)
    proof.check("itself", holds, f"{row.speedup.value:.3f}x ({low:.3f} to {high:.3f}), of trials {trials}; {row.load}")


def inside(proof: Proof, part: str) -> Any:
    """What a part found in an interpreter of its own; None where it failed, which is a check that does not hold."""
    if proof.rehearses:
        print("  needs a GPU")
        return None
    command = [sys.executable, __file__, "--inside", part]
    ended = _ended(command, max(30.0, proof.left))
    if ended.returncode:
        proof.check(part, False, ended.stderr.strip()[-1000:])
        return None
    found = json.loads(ended.stdout.splitlines()[-1])
    (proof.out / f"{part}.json").write_text(json.dumps(found, indent=1))
    return found


def _ended(command: Sequence[str], seconds: float, **more: Any) -> "subprocess.CompletedProcess[str]":
    """How a command ended; with code 1 where it took longer."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False, **more)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"took more than {seconds:.0f} s")


def timing(proof: Proof) -> None:
    found = inside(proof, "timing")
    if found is None:
        return
    for name, (least, most) in {"large": (0.9, 1.15), "small": (0.9, None), "side": (0.9, 1.2)}.items():
        ours, theirs = found[name]["ours"], found[name]["theirs"]
        quotient = ours / theirs
        holds = least <= quotient and (most is None or quotient <= most)
        said = f"sweep {ours * 1e3:.4f} ms, do_bench {theirs * 1e3:.4f} ms: {quotient:.3f}"
        proof.check(f"timing {name}", holds, said)


def _timing() -> dict[str, dict[str, float]]:
    """Seconds of a call by sweep's timer (`ours`) and by Triton's (`theirs`), which queues calls ahead."""
    import torch
    import torchvision
    from triton.testing import do_bench

    from sweep.child import device, measure

    device.forbid_tf32()
    timer = measure.Timer(torch.device("cuda"))
    found: dict[str, dict[str, float]] = {}

    def compare(name: str, call: Callable[[Any], Any], theirs: Callable[[], Any], data: Any = None) -> None:
        subject = measure.Subject(call, lambda: data, timer, Measure(seconds=1.0))
        subject.measure()
        seconds = do_bench(theirs, warmup=300, rep=1000, return_mode="median") / 1e3
        found[name] = {"ours": statistics.median(subject.samples), "theirs": float(seconds)}

    with torch.no_grad():
        model = torchvision.models.resnet18().cuda().eval()
        for name, batch in (("small", 1), ("large", 256)):
            x = torch.randn(batch, 3, 224, 224, device="cuda")
            compare(name, model, lambda x=x: model(x), x)
        side, cycles = torch.cuda.Stream(), 10_000_000

        def on_a_side_stream(_: Any) -> None:
            with torch.cuda.stream(side):
                torch.cuda._sleep(cycles)

        compare("side", on_a_side_stream, lambda: torch.cuda._sleep(cycles))
    return found


def memory(proof: Proof) -> None:
    found = inside(proof, "memory")
    if found is None:
        return
    if found["smi_mb"] is None:
        proof.check("memory", False, f"nvidia-smi does not tell; sweep says {found['sweep_mb']:.0f} MB")
        return
    off = abs(found["sweep_mb"] - found["smi_mb"])
    said = f"sweep {found['sweep_mb']:.0f} MB, nvidia-smi {found['smi_mb']:.0f} MB, torch {found['torch_mb']:.0f} MB"
    proof.check("memory", off <= 20 + 0.05 * found["smi_mb"], said)


def _memory() -> dict[str, float | None]:
    """What a model and a call of it take, in MB: by sweep, by nvidia-smi for the whole GPU, by torch's allocator."""
    import torch
    import torchvision

    from sweep.child import measure

    gpu = torch.device("cuda")
    watch = measure.MemoryWatch(gpu)  # from here on there is a context
    before = _smi("memory.used")
    model = torchvision.models.resnet50().to(gpu).eval()
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(32, 3, 224, 224, device=gpu))
    torch.cuda.synchronize()
    peak, after = watch.peak().cuda_peak, _smi("memory.used")
    smi = (float(after) - float(before)) * 2**20 / 1e6 if before and after else None
    return {"sweep_mb": peak, "smi_mb": smi, "torch_mb": torch.cuda.max_memory_reserved() / 1e6}


INSIDE: dict[str, Callable[[], Any]] = {"timing": _timing, "memory": _memory}


def line(proof: Proof) -> None:
    """The command line in a folder of its own, where importing Ray fails."""
    with tempfile.TemporaryDirectory() as folder:
        blocked = Path(folder) / "blocked" / "ray"
        blocked.mkdir(parents=True)
        (blocked / "__init__.py").write_text("raise ImportError('dispatch=serial needs no Ray')\n")
        environment = {**os.environ, "PYTHONPATH": f"{blocked.parent}:{os.environ.get('PYTHONPATH', '')}"}
        command = [sys.executable, "-m", "sweep", "+model=mlp", "conversion=EAGER,JIT_TRACE", f"device={proof.kind}"]
        options = ("measure=quick", "dispatch=serial")
        ended = _ended([*command, *options], max(60.0, proof.left), cwd=folder, env=environment)
        rows = [
            json.loads(row) for file in Path(folder).rglob("results.jsonl") for row in file.read_text().splitlines()
        ]
    statuses = {row["conversion"]: row["status"] for row in rows}
    (proof.out / "line.txt").write_text(ended.stdout + ended.stderr)
    holds = ended.returncode == 0 and statuses == dict.fromkeys(("EAGER", "JIT_TRACE"), "ok")
    proof.check("line", holds, f"exit code {ended.returncode}, {statuses}")


def modes(proof: Proof, name: str, model: Model | None, batch: int) -> None:
    conversions = "conversion=EAGER,JIT_TRACE" if proof.rehearses else "conversions=gpu_all"
    planned = requested(proof, "+model=mlp" if model or proof.rehearses else "+model=resnet", conversions)
    ready = list(planned.ready)
    if model:
        path = (str(cuda_cells.HERE),)
        ready = [replace(c, id=f"{name}-{c.conversion.lower()}", model=model, python_path=path) for c in ready]
    ready = [replace(cell, batch_size=batch, measure=cuda_cells.QUICKLY) for cell in ready]
    ready.sort(key=lambda cell: (cell.conversion != "EAGER", -registry.typical_seconds(cell.mode)))
    rows = run(proof, ready)
    for row in planned.refused:
        print(f"  {row.status}/{row.reason:22} {row.conversion:45} {row.message[:150]}")
    by_name = {row.conversion: row for row in rows.values()}
    late = [cell.conversion for cell in ready if cell.id not in rows]
    reached = f"{len(rows)} of {len(ready)} have a row" + (f"; no time for {', '.join(late)}" if late else "")
    proof.check(f"{name} rows", not late, reached)
    for conversion in MUST_BE_OK:
        if conversion in {cell.conversion for cell in ready} - set(late):
            row = by_name[conversion]
            proof.check(f"{name} {conversion}", row.status == "ok", f"{row.status}: {row.message[:200]}")
    counted = ", ".join(f"{count} {status}" for status, count in Counter(row.status for row in rows.values()).items())
    print(f"  {name}: {counted}, {len(planned.refused)} refused")


def resnet(proof: Proof) -> None:
    modes(proof, "resnet", None, 8)


def bert(proof: Proof) -> None:
    modes(proof, "bert", Model(name="bert", config=cuda_cells.BERT), 8)


BY_NAME = {part: globals()[part] for part in PARTS}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
