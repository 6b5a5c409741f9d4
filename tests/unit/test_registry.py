import pytest

from sweep.cell import Mode, Rule
from sweep.devices import KINDS
from sweep.plan import registry
from sweep.plan.names import near

CPU_LIES = {"ONNX_GPU", "COMPILE_CUDAGRAPHS", "EXPORT+COMPILE_CUDAGRAPHS", "FP16+EXPORT+COMPILE_CUDAGRAPHS"}


@pytest.mark.parametrize(
    ("asked", "first"),
    [
        ("COMPILE_INDUCTOR", ["COMPILE_INDUCTOR_DEFAULT"]),
        ("OPENVINO", ["COMPILE_OPENVINO"]),
        ("ONNX", ["ONNX_CPU", "ONNX_GPU"]),
        ("INDUCTOR", ["COMPILE_INDUCTOR_DEFAULT"]),
        ("TENSORRT", ["COMPILE_TENSORRT"]),
        ("compile_openvino", ["COMPILE_OPENVINO"]),
        ("fp16-eager", ["FP16+EAGER"]),
        ("COMPILE_INDUCTOR_DEFUALT", ["COMPILE_INDUCTOR_DEFAULT"]),
        ("ONXX_CPU", ["ONNX_CPU"]),
        ("JITTRACE", ["JIT_TRACE"]),
        ("OPTIMUM_QUANTO_Wf8E5M2+COMPILE_CUDAGRAPHS", ["OPTIMIM_QUANTO_Wf8E5M2+COMPILE_CUDAGRAPHS"]),
    ],
)
def test_a_wrong_name_finds_what_was_meant(modes: dict[str, Mode], asked: str, first: list[str]) -> None:
    assert list(near(asked, list(modes)))[: len(first)] == first


@pytest.mark.parametrize("asked", ["", "+", "XYZZY", "🙂", "A" * 10_000])
def test_a_name_like_no_other_finds_nothing(modes: dict[str, Mode], asked: str) -> None:
    assert near(asked, list(modes)) == ()


def test_a_wrong_name_never_suggests_itself(modes: dict[str, Mode]) -> None:
    assert "COMPILE_INDUCTOR" not in near("COMPILE_INDUCTOR", list(modes))


def test_what_needs_cuda_never_runs_on_a_cpu(modes: dict[str, Mode]) -> None:
    needs_cuda = {name for name in modes if "CUDAGRAPHS" in name or "TENSORRT" in name} | {"ONNX_GPU"}
    assert len(needs_cuda) == 6 + 4 + 1
    assert needs_cuda >= CPU_LIES
    assert {modes[name].runs_on for name in needs_cuda} == {("cuda",)}


def test_what_computes_on_the_cpu_whatever_it_is_given_never_runs_on_cuda(modes: dict[str, Mode]) -> None:
    only_cpu = {name for name, mode in modes.items() if mode.runs_on == ("cpu",)}
    assert only_cpu == {
        "ONNX_CPU",
        "ONNX+DYNAMO_EXPORT",
        "COMPILE_OPENVINO",
        "FP16+COMPILE_OPENVINO",
        "FP16+EXPORT+COMPILE_OPENVINO",
        "NATIVE_CONVERT_AI8WI8_STATIC_QUANTIZED",
    }


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("EAGER", KINDS),
        ("EXPORT+EAGER", KINDS),
        ("FP16+JIT_TRACE", KINDS),
        ("COMPILE_INDUCTOR_EAGER_FALLBACK", ("cpu", "cuda", "xpu", "mps")),
        ("EXPORT+AOT_INDUCTOR", ("cpu", "cuda", "xpu", "mps")),
        ("OPTIMUM_QUANTO_WI8", ("cpu", "cuda", "xpu", "mps")),
        ("COMPILE_TVM", ("cpu", "cuda")),
        ("COMPILE_CUDAGRAPHS", ("cuda",)),
        ("FP16+EXPORT+COMPILE_OPENXLA", ("xla",)),
        ("COMPILE_OPENVINO", ("cpu",)),
    ],
)
def test_a_mode_runs_on_the_devices_that_its_engine_has_code_for(
    modes: dict[str, Mode], name: str, kinds: tuple[str, ...]
) -> None:
    assert modes[name].runs_on == kinds


def test_a_conversion_of_ones_own_may_be_for_any_device() -> None:
    mine = registry.Registered(target="mine.convert", runs_on=("xpu", "hpu"))
    made = registry.modes_of_registered({"MINE": mine}, {}, "configuration")
    assert made["MINE"].runs_on == ("xpu", "hpu")
    with pytest.raises(ValueError, match="one of cpu, cuda, xpu"):
        registry.Registered(target="mine.convert", runs_on=())


def test_packages_are_known_where_alma_says_nothing(modes: dict[str, Mode]) -> None:
    assert modes["COMPILE_TVM"].needs == ("tvm.relay",)
    assert modes["COMPILE_OPENXLA"].needs == ("torch-xla",)
    assert modes["COMPILE_OPENXLA"].runs_on == ("xla",)
    assert modes["COMPILE_TENSORRT"].needs == ("torch-tensorrt",)
    assert modes["ONNX_GPU"].needs == ("onnx", "onnxruntime-gpu", "onnxscript")
    assert modes["FP16+COMPILE_OPENVINO"].needs == ("openvino",)
    assert modes["EAGER"].needs == ()
    compiled = {name for name, mode in modes.items() if "a C++ compiler" in mode.needs}
    assert compiled == {name for name in modes if "INDUCTOR" in name} | {
        f"OPTIMUM_QUANTO_{bits}" for bits in ("AI8WI4", "AI8WI2", "WI4", "WI2")
    }


def test_every_need_is_explained(modes: dict[str, Mode]) -> None:
    of_models = {"timm", "transformers", "diffusers"}
    assert {need for mode in modes.values() for need in mode.needs} | of_models == set(registry.REQUIREMENTS)


def test_every_mode_has_an_engine_and_a_precision(modes: dict[str, Mode]) -> None:
    engines = {mode.engine.removesuffix(" or eager") for mode in modes.values()}
    assert engines <= set(registry._ENGINE_BY_TOKEN.values())
    known = {"fp32", "fp16", "bf16", "int8", "int8_static", "int4", "int2", "fp8", "uncalibrated"}
    assert {mode.precision for mode in modes.values()} == known


@pytest.mark.parametrize(
    ("name", "precision", "engine"),
    [
        ("EAGER", "fp32", "eager"),
        ("BF16+EAGER", "bf16", "eager"),
        ("COMPILE_INDUCTOR_EAGER_FALLBACK", "fp32", "inductor or eager"),
        ("EXPORT+AOT_INDUCTOR", "fp32", "aot-inductor"),
        ("FP16+EXPORT+COMPILE_OPENVINO", "fp16", "openvino"),
        ("ONNX+DYNAMO_EXPORT", "fp32", "onnxruntime"),
        ("COMPILE_ONNXRT", "fp32", "onnxrt"),
        ("OPTIMUM_QUANTO_WI4", "int4", "quanto"),
        ("OPTIMUM_QUANTO_AI8WI8", "uncalibrated", "quanto"),
        ("OPTIMUM_QUANTO_Wf8E4M3N", "fp8", "quanto"),
        ("EXPORT+AI8WI8_STATIC_QUANTIZED", "int8_static", "pt2e-quantized"),
        ("TORCHAO_QUANT_I4_WEIGHT_ONLY", "int4", "torchao"),
        ("OPTIMIM_QUANTO_Wf8E5M2+COMPILE_CUDAGRAPHS", "fp8", "cudagraphs"),
        ("NATIVE_FAKE_QUANTIZED_AI8WI8_STATIC", "uncalibrated", "fx-quantized"),
        ("FP16+TORCH_SCRIPT", "fp16", "torchscript"),
    ],
)
def test_what_a_label_says(modes: dict[str, Mode], name: str, precision: str, engine: str) -> None:
    assert (modes[name].precision, modes[name].engine) == (precision, engine)


@pytest.mark.parametrize(
    ("rule", "number"),
    [
        # 72 registered; 6 CUDA graphs, ONNX_GPU, 4 TensorRT, 4 XLA and 4 onnxrt cannot run on a CPU
        (Rule(), 72),
        (Rule(runs_on="cpu"), 53),
        # 72 without 4 XLA and without the 6 that compute on the CPU only
        (Rule(runs_on="cuda"), 62),
        (Rule(precision=("bf16",)), 1),
        # those spelt FP16
        (Rule(precision=("fp16",)), 23),
    ],
)
def test_a_preset_is_a_rule_over_the_registry(modes: dict[str, Mode], rule: Rule, number: int) -> None:
    assert len(registry.select(rule, modes)) == number


def test_the_presets_by_precision_leave_no_mode_out(modes: dict[str, Mode]) -> None:
    quantized = ("int8", "int8_static", "int4", "int2", "fp8", "uncalibrated")
    rules = Rule(precision=("fp32",)), Rule(precision=("fp16", "bf16")), Rule(precision=quantized)
    chosen = [name for rule in rules for name in registry.select(rule, modes)]
    assert sorted(chosen) == sorted(modes)


def test_the_misspelt_mode_is_not_implemented(modes: dict[str, Mode]) -> None:
    assert [name for name, mode in modes.items() if not mode.implemented] == [
        "OPTIMIM_QUANTO_Wf8E5M2+COMPILE_CUDAGRAPHS"
    ]


def test_a_registry_of_tomorrow_is_read_by_the_same_rules() -> None:
    new = [{"name": "BF16+TENSORRT_NEW", "device_override": None, "dtype": "bfloat16", "implemented": True}]
    mode = registry.modes(new)["BF16+TENSORRT_NEW"]
    assert (mode.runs_on, mode.precision, mode.needs) == (("cuda",), "bf16", ("torch-tensorrt",))
