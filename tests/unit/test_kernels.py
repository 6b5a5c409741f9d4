"""What a profiler's events say of kernels; names are those of cuBLAS, cuDNN, CUTLASS, Triton and others."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from sweep.child import kernels
from sweep.child.kernels import Span


def event(name: str, begin: float, end: float, number: int = 0, device: str = "CPU", **more: Any) -> Any:
    values = {"is_user_annotation": False, "scope": 0} | more
    times = SimpleNamespace(start=begin, end=end)
    return SimpleNamespace(
        name=name, id=number, device_type=SimpleNamespace(name=device), time_range=times, cpu_parent=None, **values
    )


def kernel(name: str, number: int, microseconds: float, at: float = 100.0) -> Any:
    return event(name, at, at + microseconds, number, "CUDA")


def on_device(events: list[Any], spans: list[Span], computing: list[Span] | None = None) -> kernels.OnDevice:
    return kernels.attributed(kernels.kernels(events), spans, computing or [])


GEMM, RELU = "ampere_sgemm_128x64_tn", "void at::native::vectorized_elementwise_kernel<4, relu>"


def test_a_kernel_belongs_to_what_was_going_on_when_it_was_launched() -> None:
    events = [
        *(event("cudaLaunchKernel", 12, 13, 1), event("cuLaunchKernelEx", 14, 15, 2)),
        *(event("cudaLaunchKernel", 32, 33, 3), event("cudaLaunchKernel", 50, 51, 4)),
        *(kernel(GEMM, 1, 6.0), kernel("cudnn_infer_kernel", 2, 2.0), kernel(RELU, 3, 1.0), kernel(GEMM, 4, 1.0)),
    ]
    engine, relu = Span(name="mark", begin=10, end=20, engine="onnxruntime"), Span(name="aten::relu", begin=30, end=40)
    found = on_device(events, [engine, relu])
    assert found.inside == pytest.approx({"onnxruntime": 8e-6})
    assert found.outside == pytest.approx({"aten::relu": 1e-6, kernels.NOBODYS: 1e-6})
    assert found.seconds == pytest.approx(1e-5)
    assert found.kernels == Counter({GEMM: 2, "cudnn_infer_kernel": 1, RELU: 1})


def test_copies_waits_and_annotations_are_no_kernels() -> None:
    names = ("Memcpy HtoD (Pageable -> Device)", "Memset (Device)", "Context Sync")
    events = [kernel(name, 1, 5.0) for name in names]
    events += [event("mine", 0, 9, 1, "CUDA", is_user_annotation=True)]
    assert kernels.kernels(events) == []


def test_an_operator_with_the_number_of_a_launch_is_none() -> None:
    """torch numbers its operators by itself, and so do drivers their calls."""
    events = [event("aten::mm", 1, 9, 7), event("cudaLaunchKernel", 4, 5, 7), kernel(GEMM, 7, 3.0)]
    (found,) = kernels.kernels(events)
    assert (found.launched, found.by) == (4, "cudaLaunchKernel")
    forged = [event("cudaLaunchKernel", 4, 5, 7, scope=kernels.USER_SCOPE), kernel(GEMM, 7, 3.0)]
    assert kernels.kernels(forged)[0].launched is None
    assert kernels.driver_calls(forged) == {}


def test_all_kernels_of_a_graph_are_launched_by_one_call() -> None:
    launch = event("cudaGraphLaunch", 12, 13, 1)
    eager = [event("cudaLaunchKernel", 14, 15, 2), kernel(RELU, 2, 2.0)]
    found = on_device([launch, kernel(GEMM, 1, 5.0), kernel(RELU, 1, 1.0), *eager], [])
    assert found.share_of_graphs == pytest.approx(6 / 8)
    assert on_device(eager, []).share_of_graphs == 0
    assert on_device([launch], []).share_of_graphs is None


def test_operators_that_compute_and_launch_nothing_were_on_the_cpu() -> None:
    linear, conv = Span(name="aten::linear", begin=0, end=100), Span(name="aten::conv2d", begin=200, end=210)
    launched = [event("cudaLaunchKernel", 205, 206, 1), kernel(GEMM, 1, 20.0)]
    found = on_device(launched, [linear, conv], [linear, conv])
    assert found.on_cpu == pytest.approx(1e-4)
    assert found.outside == pytest.approx({"aten::linear": 1e-4, "aten::conv2d": 2e-5})
    assert found.mostly_on_cpu
    assert not on_device(launched, [conv], [conv]).mostly_on_cpu
    assert on_device([], [linear], [linear]).mostly_on_cpu
    assert on_device([], [], []).mostly_on_cpu  # whatever ran, it ran nowhere on the device


def test_kernels_that_only_pass_tensors_on_are_left_out() -> None:
    copy, graph = Span(name="aten::_to_copy", begin=0, end=9), Span(name="mark", begin=10, end=19, engine="cudagraphs")
    events = [event("cudaLaunchKernel", 4, 5, 1), kernel("void at::native::unrolled_elementwise_kernel<cast>", 1, 9.0)]
    events += [event("cudaGraphLaunch", 14, 15, 2), kernel(GEMM, 2, 3.0)]
    found = kernels.attributed(kernels.kernels(events), [graph], [], [copy])
    assert found.inside == pytest.approx({"cudagraphs": 3e-6})
    assert found.outside == {}
    assert found.share_of_graphs == 1


def test_where_no_launch_is_seen_nothing_is_said_of_shares() -> None:
    engine, linear = Span(name="mark", begin=0, end=9, engine="inductor"), Span(name="aten::linear", begin=10, end=20)
    found = on_device([kernel(GEMM, 1, 5.0)], [engine, linear], [linear])
    assert (found.inside, found.outside, found.on_cpu) == ({}, {}, 0.0)
    assert not found.mostly_on_cpu


def test_a_kernel_whose_launch_was_not_seen_is_its_engines_by_name() -> None:
    engine = Span(name="mark", begin=0, end=9, engine="inductor")
    seen = [event("cudaLaunchKernel", 50, 51, 1), kernel(RELU, 1, 1.0)]
    found = on_device([*seen, kernel("triton_poi_fused_relu_0", 2, 3.0)], [engine])
    assert found.inside == pytest.approx({"inductor": 3e-6})
    found = on_device([*seen, kernel("triton_poi_fused_relu_0", 2, 3.0)], [])
    assert found.inside == {}


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        ("triton_poi_fused_add_relu_3", "inductor"),
        ("triton_red_fused_native_layer_norm_0", "inductor"),
        ("triton_tem_fused_mm_7", "inductor"),
        ("my_own_triton_kernel", None),
        ("void at::native::(anonymous namespace)::softmax_warp_forward<float>", "eager"),
        ("void onnxruntime::cuda::_BinaryElementWise<float>", "onnxruntime"),
        ("__myl_MulAdd_0x1234", "tensorrt"),
        ("void nvinfer1::tiled_pooling::poolCHW_RS3_UV2", "tensorrt"),
        ("ampere_sgemm_128x64_tn", None),
        ("void cudnn::ops::nchwToNhwcKernel<float>", None),
    ],
)
def test_some_kernels_are_one_engines_alone(name: str, engine: str | None) -> None:
    assert kernels.engine_of(name) == engine


@pytest.mark.parametrize(
    ("name", "tf32"),
    [
        ("sm90_xmma_gemm_f32f32_tf32f32_f32_tn_n_tilesize128x128x32", True),
        ("sm80_xmma_fprop_implicit_gemm_tf32f32_tf32f32_f32_nhwckrsc_nhwc_tilesize128x128x16", True),
        ("cutlass_80_tensorop_s1688gemm_128x256_16x3_nn_align4", True),
        ("cutlass_tensorop_s1688tf32gemm_256x128_16x3_nn_align4", True),
        ("void cutlass::Kernel2<cutlass::gemm::kernel::Gemm<cutlass::tfloat32_t>>", True),
        ("nvjet_sss_128x256_64x4_2x1_v_bz_coopA_NNT", True),
        ("nvjet_tst_128x256_64x4_2x1_v_bz_coopA_NNT", False),
        ("nvjet_sm100_tst_mma_128x256", False),
        ("cutlass_75_tensorop_bf16_s1688gemm_bf16_256x128_nn_align1", False),
        ("turing_fp16_s1688gemm_fp16_128x128_ldg8_f2f_tn", False),
        ("cutlass_80_tensorop_f16_s16816gemm_relu_f16_128x64_64x4_nn_align8", False),
        ("sm80_xmma_gemm_f32f32_f32f32_f32_tn_n_tilesize32x32x8", False),
        ("ampere_sgemm_128x64_tn", False),
        ("cutlass_80_simt_sgemm_128x64_8x5_nn_align1", False),
    ],
)
def test_kernels_that_compute_in_tf32_say_so(name: str, tf32: bool) -> None:
    assert kernels.computes_in_tf32(["ampere_sgemm_128x64_tn", name]) is tf32
