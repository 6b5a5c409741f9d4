"""Refuses variables of this shell that change what torch and the engines do, and that cells would not see."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from sweep.cell import Request
from sweep.errors import BadRequest

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
COMPUTING = (
    *("OMP_PROC_BIND", "OMP_PLACES", "OMP_WAIT_POLICY", "OMP_DYNAMIC", "GOMP_CPU_AFFINITY", "GOMP_SPINCOUNT"),
    *("KMP_AFFINITY", "KMP_BLOCKTIME", "MKL_DYNAMIC", "MKL_ENABLE_INSTRUCTIONS", "ATEN_CPU_CAPABILITY"),
    *("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE"),
    *("NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "CUBLAS_WORKSPACE_CONFIG", "CUDA_LAUNCH_BLOCKING"),
    *("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_NO_CUDA_MEMORY_CACHING", "TORCH_COMPILE_DISABLE"),
    *("TORCHDYNAMO_DISABLE", "TORCHINDUCTOR_*", "MALLOC_ARENA_MAX"),
)
"""Patterns of their names. A container or a module of a cluster may set one for whoever logs in."""

CACHES = ("*_CACHE", "*_CACHE_DIR", "*_COMPILE_THREADS")
"""What each cell has of its own, whatever is set here."""


def refuse_unseen(environment: Mapping[str, str], requests: Sequence[Request], given: Sequence[str]) -> None:
    """Raise BadRequest for those that are set, and that no request lets through; `given` are the options that are."""
    problems = []
    unsaid = "threads" not in given and any(request.threads is None for request in requests)
    for name, value in sorted(environment.items()):
        if all(name in request.env for request in requests):
            continue
        if name in THREADS and unsaid:
            problems.append(
                f"{name}={value} is set, which cells do not see: give threads={value}, or threads=null for every CPU"
            )
        elif _is_any_of(name, COMPUTING) and not _is_any_of(name, CACHES):
            problems.append(
                f"{name}={value} is set, which cells do not see: name it in isolate.env=[{name}], or unset it"
            )
    if problems:
        raise BadRequest(*problems)


def _is_any_of(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
