"""What a model is called with, from its config alone."""

from typing import Any

import pytest

from sweep import inputs
from sweep.inputs import Description, Made, TensorSpec, describe
from sweep.request import read

IDS = {"shape": ["batch", "seq"], "dtype": "int64", "high": 100}


def config(node: Any, **more: Any) -> dict[str, Any]:
    return {"_target_": "a.B", "inputs": node, **more}


def test_one_tensor_has_the_batch_in_front_of_its_shape() -> None:
    described = describe({"input": {"shape": [3, "side"], "dtype": "float16"}, "side": 8}, batch=4)
    assert described == Description(args=(TensorSpec(shape=(4, 3, 8), dtype="float16"),), kwargs={})


def test_tensors_by_name_and_by_position_with_sizes_by_name() -> None:
    node = {"_args_": [IDS], "mask": {"like": "[0]", "dtype": "int64", "fill": "mask"}, "scale": 0.5, "labels": None}
    described = describe(config(node, seq=7), batch=2)
    ids = TensorSpec(shape=(2, 7), dtype="int64", fill="integers", low=0, high=100)
    mask = TensorSpec(shape=(2, 7), dtype="int64", fill="mask")
    assert described.args == (ids,)
    assert dict(described.kwargs) == {"mask": mask, "scale": 0.5, "labels": None}


def test_nests_keep_their_form() -> None:
    state = {"tuple": [{"shape": [1, "batch", 4]}, {"like": "[1][0]"}]}
    images = {"times": "batch", "of": {"shape": [3, 9], "fill": "uniform"}}
    described = describe(config([images, state, {"key": [{"like": "[0][1]"}]}]), batch=2)
    image, half = TensorSpec(shape=(3, 9), fill="uniform"), TensorSpec(shape=(1, 2, 4))
    assert described.args[0] == [image, image]
    assert described.args[1] == (half, half)
    assert described.args[2] == {"key": [TensorSpec(shape=(3, 9))]}


def test_an_object_is_made_of_tensors() -> None:
    layer = {"tuple": [{"shape": ["batch", 2, "past", 4]}, {"like": "cache.layers[0][0]"}]}
    described = describe(config({"cache": {"_target_": "a.Cache", "layers": [layer]}}, past=3))
    spec = TensorSpec(shape=(1, 2, 3, 4))
    assert described.kwargs["cache"] == Made(target="a.Cache", kwargs={"layers": [(spec, spec)]})


def test_a_size_may_be_a_sum() -> None:
    described = describe(config([{"shape": ["past+seq+1"]}], past=3, seq=4))
    assert described.args[0].shape == (8,)


def test_sizes_are_the_keys_that_are_taken() -> None:
    assert inputs.sizes(config([IDS], seq=7, width=3)) == {"seq"}
    assert inputs.sizes(config([{"shape": [2, "edges"], "dtype": "int64", "high": "nodes"}], edges=5, nodes=4)) == {
        "edges",
        "nodes",
    }
    assert inputs.sizes(config({"_target_": "a.inputs", "seq": 7, "other": 1}, seq=7, width=3)) == {"seq"}


@pytest.mark.parametrize(
    ("node", "said"),
    [
        ([], "inputs holds no tensor"),
        ([1, None], "inputs holds no tensor"),
        ("ids", "inputs must be a list"),
        ([{"shape": ["batch", "seq"]}], "[0].shape: there is no size 'seq'"),
        ([{"shape": [0]}], "[0].shape: size 0 must be a whole number above 0"),
        ([{"shape": [1.5]}], "[0].shape: size 1.5 must be a whole number"),
        ([{"shape": ["half"]}], "[0].shape: size half must be a whole number"),
        ([{"shape": [True]}], "there is no size 'True'"),
        ([{"shape": 3}], "[0]: shape must be a list of sizes"),
        ({"ids": {"shape": [3], "dtype": "int46"}}, "ids: dtype int46: one of float32"),
        ({"ids": {"shape": [3], "fill": "gaussian"}}, "ids: fill gaussian: one of normal"),
        ({"ids": {"shape": [3], "dtype": "int64", "fill": "uniform"}}, "ids: int64 cannot be filled with uniform"),
        ({"ids": {"shape": [3], "high": 5}}, "ids: low and high are for fill: integers and uniform, not normal"),
        ({"ids": {"shape": [3], "dtype": "int64", "low": 5}}, "ids: low (5) must be less than high (2)"),
        ({"ids": {"shape": [], "fill": "mask"}}, "ids: fill mask needs a shape of one dimension at least"),
        ({"mask": {"like": "ids"}}, "mask: like ids names no other tensor"),
        ({"a": {"like": "b"}, "b": {"like": "a"}}, "names no other tensor"),
        ({"a": {"like": "a"}}, "names no other tensor"),
        ({"a": {"like": "a b[", "dtype": "int64"}}, "names no other tensor"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(node: Any, said: str) -> None:
    assert said in "; ".join(inputs.problems(config(node, half=0.5)))


def test_all_problems_are_told_at_once() -> None:
    node = {"a": {"shape": ["x"]}, "b": {"shape": ["y"], "fill": "z"}}
    assert len(inputs.problems(config(node, output=["", "a..b"]))) == 5


def test_both_input_and_inputs_are_one_too_many() -> None:
    assert "has input and inputs" in inputs.problems(config([IDS], seq=3, input={"shape": [3]}))[0]


def test_none_at_all_is_said() -> None:
    assert "needs input.shape" in inputs.problems({"_target_": "a.B"})[0]


def test_what_a_function_says_is_not_known_before_it_is_called() -> None:
    assert inputs.is_computed(config({"_target_": "a.inputs"}))
    assert inputs.problems(config({"_target_": "a.inputs"})) == []


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("logits", ["logits"]),
        ("[0]", [0]),
        ("past[0].key", ["past", 0, "key"]),
        ("[1][2].a", [1, 2, "a"]),
    ],
)
def test_paths_lead_through_keys_and_places(path: str, found: list[str | int]) -> None:
    assert inputs.steps(path) == found


@pytest.mark.parametrize("path", ["", ".", "a..b", "a[", "[x]", "a]"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="is no path"):
        inputs.steps(path)


def test_keys_that_no_tensor_has_are_found_at_any_depth() -> None:
    node = {"ids": {**IDS, "hgih": 3}, "more": [{"like": "ids", "file": 1}], "other": {"shap": 3}}
    assert list(read._unknown_keys_of_inputs(config(node))) == [("inputs.ids", "hgih"), ("inputs.more[0]", "file")]
    assert list(read._unknown_keys_of_inputs({"input": {"shape": [3], "like": "x"}})) == [("input", "like")]


def test_further_sizes_are_those_that_the_inputs_have() -> None:
    assert inputs.problems(config([IDS], seq=7, shapes=[{"seq": 3}, {"batch": 2, "seq": 4}])) == []
    assert inputs.shapes(config([IDS], seq=7, shapes=[{"seq": 3}])) == [{"seq": 3}]
    assert inputs.shapes(config([IDS], seq=7)) == []


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({"seq": 3}, "shapes must be a list of sizes"),
        ([{}], "shapes must be a list of sizes"),
        ([{"sequence": 3}], "shapes: sequence=3: the sizes are batch, seq"),
        ([{"seq": 0}], "shapes: seq=0: a size is a whole number above 0"),
        ([{"seq": "long"}], "shapes: seq=long: a size is a whole number above 0"),
    ],
)
def test_further_sizes_that_are_none_are_said(shapes: Any, said: str) -> None:
    assert said in "; ".join(inputs.problems(config([IDS], seq=7, shapes=shapes)))
