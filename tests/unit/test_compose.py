from pathlib import Path

import pytest

from sweep.cell import Device, Measure, Request, Rule
from sweep.devices import KINDS
from sweep.errors import BadRequest
from sweep.request.compose import compose
from sweep.request.settings import Dispatch, Settings
from sweep.user_data import UserData


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(weird_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(weird_path)


def composed(*arguments: str) -> tuple[list[Request], Settings]:
    result = compose(arguments)
    assert result is not None
    return result


def refused(*arguments: str) -> list[str]:
    with pytest.raises(BadRequest) as error:
        compose(arguments)
    return list(error.value.problems)


def test_one_model_is_one_request_with_the_defaults_of_the_design() -> None:
    (request,), settings = composed("+model=resnet")
    assert request.model.name == "resnet"
    assert request.model.config["_target_"] == "torchvision.models.resnet18"
    assert request.model.config["input"] == {"shape": [3, 224, 224]}
    assert request.conversions == ("EAGER", "COMPILE_INDUCTOR_DEFAULT", "ONNX_CPU", "COMPILE_OPENVINO")
    assert (request.device.kind, request.batch_size, request.threads, request.seed) == ("cpu", 1, None, 0)
    assert (settings.dispatch, settings.on_invalid) == (Dispatch(name="ray", address=None, retries=2), "record")
    assert not settings.dry_run
    assert settings.run_dir.parts[-3] == "multirun"
    assert request.tolerance["fp32"].rel_l2 == 2e-5


@pytest.mark.parametrize("multirun", [[], ["-m"], ["--multirun"]])
def test_commas_make_a_grid_with_or_without_the_flag(multirun: list[str]) -> None:
    requests, _ = composed("+model=resnet,mlp", "batch_size=1,8", "device=cpu,cuda", *multirun)
    grid = [(r.model.name, r.batch_size, r.device.name) for r in requests]
    assert len(grid) == len(set(grid)) == 8


def test_conversions_by_name_win_over_a_preset_and_cost_one_composition() -> None:
    requests, _ = composed("+model=mlp", "conversions=all", "conversion=EAGER,FP16+EAGER,NO SUCH,EAGER", "-m")
    assert [request.conversions for request in requests] == [("EAGER", "FP16+EAGER", "NO SUCH", "EAGER")]


@pytest.mark.parametrize("written", ["conversion=EAGER", "conversion=[EAGER]", "'conversion'=EAGER"])
def test_one_conversion_can_be_written_plainly(written: str) -> None:
    if written.startswith("'"):
        assert "conversion" in refused("+model=mlp", written)[0]
        return
    (request,), _ = composed("+model=mlp", written)
    assert request.conversions == ("EAGER",)


@pytest.mark.parametrize(
    ("preset", "rule"),
    [
        ("all", Rule()),
        ("cpu_all", Rule(runs_on="cpu")),
        ("gpu_all", Rule(runs_on="cuda")),
        ("fp32", Rule(precision=("fp32",))),
        ("reduced", Rule(precision=("fp16", "bf16"))),
        ("quantized", Rule(precision=("int8", "int8_static", "int4", "int2", "fp8", "uncalibrated"))),
    ],
)
def test_a_preset_is_a_rule(preset: str, rule: Rule) -> None:
    (request,), _ = composed("+model=mlp", f"conversions={preset}")
    assert request.conversions == rule


def test_what_has_no_column_is_kept_as_an_override() -> None:
    requests, _ = composed("+model=mlp", "seed=1,2", "measure.seconds=2", "limits.eager=9", "dry_run=true")
    assert [dict(r.overrides) for r in requests] == [
        {"seed": "1", "measure.seconds": "2", "limits.eager": "9"},
        {"seed": "2", "measure.seconds": "2", "limits.eager": "9"},
    ]
    assert requests[0].limits.eager == 9


def test_a_users_own_model_comes_from_a_config_dir(weird_path: Path) -> None:
    (weird_path / "mine" / "model").mkdir(parents=True)
    (weird_path / "mine" / "model" / "net.yaml").write_text(
        "_target_: my.Net\nwidth: 3\ninput: {shape: [7]}\ncheckpoint: weights.pt\n"
    )
    (request,), _ = composed("--config-dir", str(weird_path / "mine"), "+model=net", "model.width=5")
    assert request.model.config["width"] == 5
    assert request.model.config["checkpoint"] == str(weird_path / "weights.pt")
    assert request.python_path == (str(weird_path),)


@pytest.mark.parametrize("spelling", ["${batch_size}", "${ batch_size }", "${..batch_size}", "${oc.select:batch_size}"])
def test_a_value_by_whatever_interpolation_is_each_cells_own(tmp_path: Path, spelling: str) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "tied.yaml").write_text(
        f"_target_: my.Net\nrows: {spelling}\nsame: 3\ninput: {{shape: [7]}}\n"
    )
    requests, _ = composed("--config-dir", str(tmp_path), "+model=tied", "batch_size=1,4", "threads=1,2")
    assert [(r.batch_size, r.threads, r.model.config["rows"], r.model.config["same"]) for r in requests] == [
        *((1, 1, 1, 3), (1, 2, 1, 3), (4, 1, 4, 3), (4, 2, 4, 3)),
    ]
    assert [dict(r.overrides) for r in requests] == [{"model.rows": str(r.batch_size)} for r in requests]


def test_an_override_by_interpolation_says_the_value_that_it_took() -> None:
    (request,), _ = composed("+model=mlp", "+model.width=${batch_size}", "batch_size=8")
    assert dict(request.overrides) == {"model.width": "8"}


def test_variables_that_ray_sets_are_text_and_cells_see_them() -> None:
    (request,), settings = composed(
        "+model=mlp", "+dispatch.runtime_env.env_vars={A:1,B:true,C:text}", "isolate.env=[OWN]"
    )
    assert settings.dispatch.runtime_env["env_vars"] == {"A": "1", "B": "true", "C": "text"}
    assert request.env == ("OWN", "A", "B", "C")


def test_a_request_that_makes_no_job_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweep.request.compose._run_hydra", lambda collect, argv: None)
    assert "Hydra ran no job" in refused("+model=mlp")[0]
    assert compose(["+model=mlp", "--cfg", "job"]) is None


def test_overrides_may_stand_on_both_sides_of_a_flag() -> None:
    requests, _ = composed("+model=mlp,resnet", "-m", "seed=3", "--config-dir", ".", "batch_size=2")
    assert [(r.model.name, r.seed, r.batch_size) for r in requests] == [("mlp", 3, 2), ("resnet", 3, 2)]


def test_help_and_cfg_ask_for_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert compose(["--help"]) is None
    assert "resnet" in capsys.readouterr().out
    assert compose(["+model=mlp", "--cfg", "job"]) is None


@pytest.mark.parametrize(
    ("variable", "arguments", "said"),
    [
        ("OMP_NUM_THREADS=1", [], ["is set, which cells do not see: give threads=1, or threads=null for every CPU"]),
        ("MKL_NUM_THREADS=2", ["measure.seconds=1"], ["give threads=2"]),
        ("OMP_NUM_THREADS=1", ["threads=1"], []),
        ("OMP_NUM_THREADS=1", ["threads=null"], []),
        ("OMP_NUM_THREADS=1", ["threads=1,2"], []),
        ("OMP_NUM_THREADS=1", ["isolate.env=[OMP_NUM_THREADS]"], []),
        ("OMP_NUM_THREADS=1", ["+dispatch.runtime_env.env_vars.OMP_NUM_THREADS='1'"], []),
        ("ATEN_CPU_CAPABILITY=default", [], ["name it in isolate.env=[ATEN_CPU_CAPABILITY], or unset it"]),
        ("TORCHINDUCTOR_FREEZING=1", ["threads=1"], ["isolate.env=[TORCHINDUCTOR_FREEZING]"]),
        ("TORCHINDUCTOR_FREEZING=1", ["isolate.env=[TORCHINDUCTOR_FREEZING]"], []),
        ("TORCHINDUCTOR_CACHE_DIR=/x", [], []),
        ("PYTORCH_VERSION=2", [], []),
    ],
)
def test_a_variable_that_cells_would_not_see_is_not_dropped_in_silence(
    variable: str, arguments: list[str], said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(*variable.split("="))
    if not said:
        composed("+model=mlp", *arguments)
        return
    (problem,) = refused("+model=mlp", *arguments)
    assert problem.startswith(variable)
    assert said[0] in problem


def test_an_unknown_model_in_a_grid_keeps_its_place() -> None:
    requests, _ = composed("+model=resnet,resnt,mlp", "device=cpu,tpu")
    assert [(r.model.name, r.model.known, r.device.name, r.device.known) for r in requests][2:4] == [
        ("resnt", False, "cpu", True),
        ("resnt", False, "tpu", False),
    ]
    assert len(requests) == 6
    assert requests[2].model.near[0] == "resnet"
    again, _ = composed("+model=resnet,mlp")
    assert len(again) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], ["which model? Name one with +model=NAME"]),
        (["+model=resnt"], ["unknown model 'resnt': did you mean resnet"]),
        (["+model=a/b"], ["unknown model 'a/b'"]),
        (["+model=../device/cpu"], ["must not lead out of its group"]),
        (["+model=mlp", "device=cpu,/etc"], ["must not lead out of its group"]),
        (["+model=mlp", "device=cuda", "device.kind=cpu"], ["device=cuda is the cuda device"]),
        (["+model=mlp", "device=xpu", "device.kind=cpu"], ["device=xpu is the xpu device"]),
        (["+model=mlp", "+device.knd=cuda"], ["unknown option device.knd: did you mean kind"]),
        (["+model=mlp", "+dispatch.adress=auto"], ["unknown option dispatch.adress: did you mean address"]),
        (["+model=mlp", "+model.input.hgih=3"], ["unknown option model.input.hgih: did you mean high"]),
        (["+model=mlp", "~seed"], ["seed is missing"]),
        (["+model=mlp", "measure=null"], ["must be a string or a list"]),
        (["+model=mlp", "isolate=null"], ["isolate must hold options"]),
        (["+model=mlp", "hydra.sweep.dir=/proc/x"], ["cannot make the run folder"]),
        (["+model=mlp", "hydra.run.dir=x", "hydra.sweep.subdir=y"], ["name it with hydra.sweep.dir=FOLDER"] * 2),
        (
            ["+model=[mlp,resnet]"],
            ["+model=[mlp,resnet] would merge these into one: give +model=mlp,resnet to run each"],
        ),
        (["+model=mlp", "device=[cpu,cuda]"], ["give device=cpu,cuda to run each"]),
        (["+model=mlp", "hydra/launcher=joblib"], ["hydra/launcher=joblib: sweep carries cells itself: use dispatch="]),
        (["+model=mlp", "hydra.launcher.n_jobs=2"], ["sweep carries cells itself"]),
        (["+model=mlp", "hydra/sweeper=optuna"], ["give lists of values"]),
        (["+model=mlp", "hydra.job.chdir=true"], ["in a folder of its own anyway"]),
        (["+model=mlp", "+hydra.job.env_set.OMP_NUM_THREADS=1"], ["in front of the command"]),
        (["+model=mlp,resnet", "--cfg", "job"], ["--cfg shows one job: give no --multirun, and one value each"]),
        (["+model=mlp", "--info", "all", "-m"], ["--info shows one job"]),
        (["+model=mlp", "batch_size=interval(1,4)"], ["is no list of values: use range(1,5) or 1,2,3,4"]),
        (["+model=mlp", "seed=interval(1,4)", "batch_size=glob(*)"], ["is no list of values", "glob() chooses among"]),
        (["+model=resnt,mlpp"], ["unknown model 'resnt'", "unknown model 'mlpp'"]),
        (["+model=mlp", "device=tpu"], ["unknown device 'tpu'"]),
        (["model=mlp"], ["Could not override 'model'"]),
        (["+model=mlp", "batchsize=3"], ["Could not override 'batchsize'"]),
        (["+model=mlp", "+batchsize=3"], ["unknown option batchsize: did you mean batch_size?"]),
        (["+model=mlp", "+measure.second=3"], ["unknown option measure.second: did you mean seconds"]),
        (["+model=mlp", "+tolerance.fp32.l2=3"], ["unknown option tolerance.fp32.l2"]),
        (["+model=mlp", "batch_size=x", "threads=y"], ["batch_size", "threads"]),
        (["+model=mlp", "batch_size=0"], ["batch_size must be at least 1"]),
        (["+model=mlp", "measure.drift=2"], ["measure.drift must be less than 1"]),
        (["+model=mlp", "measure.trials=0"], ["measure.trials must be from 1 to 100"]),
        (["+model=mlp", "fail_on=[crashd]"], ["fail_on"]),
        (["+model=mlp", "on_invalid=ignore"], ["on_invalid"]),
        (["+model=mlp", "batch_size=["], ["cannot read the override 'batch_size=['"]),
        (["+model=mlp", "a=[", "b={"], ["'a=['", "'b={'"]),
        (["+model=mlp", "batch_size=1", "batch_size=2"], ["batch_size is given more than once"]),
        (["+model=mlp", "conversions=ONNX_CPU"], ["unknown conversions 'ONNX_CPU'"]),
        (["+model=mlp", "dispatch=slurm"], ["unknown dispatch 'slurm'; there are ray, serial"]),
        (["+model=mlp", "dispatch=ray,serial"], ["cannot be swept"]),
        (["+model=mlp", "conversions.names=null"], ["conversion"]),
        (["+model=mlp", "~isolate", "~record"], ["isolate is missing", "record is missing"]),
        (["+model=mlp", "~device"], ["device is missing"]),
        (["+model=mlp", "isolate=null"], ["isolate must hold options"]),
    ],
)
def test_a_bad_request_says_all_that_is_wrong(arguments: list[str], said: list[str]) -> None:
    problems = refused(*arguments)
    assert len(problems) >= len(said)
    for text in said:
        assert any(text in problem for problem in problems), problems


def test_nothing_is_left_behind_by_a_bad_request(weird_path: Path) -> None:
    refused("+model=resnt")
    refused("+model=resnt,resnot", "-m")
    refused("+model=mlp", "batch_size=0")
    refused("+model=mlp", "batch_size=0,-1", "threads=0", "-m")
    assert not list(weird_path.iterdir())


def test_a_config_that_a_shipped_one_hides_is_refused(weird_path: Path) -> None:
    (weird_path / "mine" / "model").mkdir(parents=True)
    (weird_path / "mine" / "model" / "resnet.yaml").write_text("_target_: mine.Net\n")
    (problem,) = refused("--config-dir", "mine", "+model=resnet")
    assert problem.startswith("mine/model/resnet.yaml: sweep has a model 'resnet' of its own")


def test_one_status_to_fail_on_needs_no_list_and_a_name_is_text() -> None:
    (request,), settings = composed("+model=mlp", "fail_on=crashed", "conversion=123")
    assert settings.fail_on == ("crashed",)
    assert request.conversions == ("123",)


def test_plain_options_are_spread_without_composing_for_each_of_their_values() -> None:
    requests, _ = composed("+model=mlp,resnet", "batch_size=range(1,101)", "threads=1,2", "seed=0,1")
    grid = {(r.model.name, r.batch_size, r.threads, r.seed) for r in requests}
    assert len(grid) == len(requests) == 2 * 100 * 2 * 2
    assert len({id(request.model) for request in requests}) == 2
    assert {request.overrides["seed"] for request in requests} == {"0", "1"}


def test_a_plain_option_that_a_model_takes_its_value_from_reaches_it() -> None:
    requests, _ = composed("+model=mlp", "+model.width=${batch_size}", "batch_size=1,8")
    assert [(r.batch_size, r.model.config["width"]) for r in requests] == [(1, 1), (8, 8)]


def test_options_are_known_by_their_earlier_names_too() -> None:
    (request,), _ = composed("+model=mlp", "measure=quick", "measure.max_seconds=1", "measure.processes=3")
    assert (request.measure.seconds, request.measure.trials) == (1, 3)


def test_a_bad_value_among_many_is_said() -> None:
    assert any("batch_size" in problem for problem in refused("+model=mlp", "batch_size=1,0,many"))


def test_a_device_says_what_its_node_must_have(tmp_path: Path) -> None:
    (tmp_path / "device").mkdir()
    (tmp_path / "device" / "mine.yaml").write_text(
        "kind: cuda\ngpus: 1\naccelerator: H100\nlabels: {zone: a}\nresources: {licence: 1}\ncpus: 8\nmemory: 32000\n"
    )
    (request,), _ = composed("+model=mlp", "device=mine", "--config-dir", str(tmp_path))
    assert request.device == Device(
        name="mine",
        kind="cuda",
        gpus=1,
        accelerator="H100",
        labels={"zone": "a"},
        resources={"licence": 1},
        cpus=8,
        memory=32000,
    )


def test_what_every_node_gets_is_said_on_the_command_line() -> None:
    _, settings = composed(
        *("+model=mlp", "dispatch.address=auto", "dispatch.working_dir=.", "dispatch.py_modules=[a,b]"),
        *("dispatch.cells_per_node=4", "+dispatch.runtime_env.env_vars.NAME=value"),
    )
    assert settings.dispatch == Dispatch(
        address="auto",
        working_dir=".",
        py_modules=("a", "b"),
        cells_per_node=4,
        runtime_env={"env_vars": {"NAME": "value"}},
    )


def test_an_option_within_a_group_that_is_taken_away_is_as_by_default() -> None:
    composed = compose(["+model=mlp", "conversion=EAGER", "~isolate.env", "~measure.precision"])
    assert composed is not None
    ((request,), _) = composed
    assert (request.env, request.start, request.measure) == ((), "fork", Measure())


DATA = """
_target_: mypackage.batches
split: test
samples: 64
metric: {_target_: torchmetrics.Accuracy, num_classes: 10}
allowed_drop: 0.01
"""


@pytest.fixture
def with_data() -> str:
    for name, text in {"mine": DATA, "other": "_target_: mypackage.batches\nsplit: train\n"}.items():
        path = Path("my_conf/data") / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return "--config-dir=my_conf"


def test_data_has_arguments_of_its_target_and_options(with_data: str) -> None:
    (request,), _ = composed(with_data, "+model=mlp", "+data=mine", "data.samples=32", "+data.calibration=2")
    assert request.data == UserData(
        name="mine",
        arguments={"_target_": "mypackage.batches", "split": "test"},
        samples=32,
        calibration=2,
        metric={"_target_": "torchmetrics.Accuracy", "num_classes": 10},
        allowed_drop=0.01,
    )
    assert request.data.metric_name == "Accuracy"
    assert request.overrides == {"data": "mine", "data.samples": "32", "data.calibration": "2"}
    assert composed("+model=mlp")[0][0].data is None


def test_data_is_swept_over_as_models_are(with_data: str) -> None:
    requests, _ = composed(with_data, "+model=mlp,resnet", "+data=mine,other")
    assert [(r.model.name, r.data and r.data.name) for r in requests] == [
        (model, data) for model in ("mlp", "resnet") for data in ("mine", "other")
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("+data=mime",), ["unknown data 'mime'"]),
        (("+data=mine", "data.samples=0", "data.allowed_drop=-1"), ["data.samples", "data.allowed_drop"]),
        (("+data=mine", "~data.metric"), ["data.allowed_drop needs data.metric"]),
        (("+data=mine", "data.metric=accuracy"), ["data.metric must be a path such as mypackage.accuracy"]),
        (("+data=mine", "data._target_=batches"), ["data needs a _target_ such as mypackage.batches"]),
    ],
)
def test_what_is_wrong_with_data_is_said_at_once(with_data: str, arguments: tuple[str, ...], said: list[str]) -> None:
    problems = " ".join(refused(with_data, "+model=mlp", *arguments))
    assert all(text in problems for text in said), problems


def test_every_kind_of_device_has_a_file_of_its_name() -> None:
    requests, _ = composed("+model=mlp", f"device={','.join(KINDS)}")
    assert [request.device.kind for request in requests] == list(KINDS)
    assert all(request.device.known for request in requests)
