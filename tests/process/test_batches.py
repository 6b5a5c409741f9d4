"""The user's own data: what may yield it, how it is cut, and where a model takes it."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from tests.process import digits

from sweep import inputs
from sweep.cell import Cell, Model
from sweep.child import batches, data, metric
from sweep.child.batches import BadData, Batch
from sweep.child.feed import Feed
from sweep.inputs import TensorSpec
from sweep.user_data import UserData

MakeCell = Callable[..., Cell]

LINEAR = torch.nn.Linear(8, 4)


def of(make_cell: MakeCell, target: str, size: int = 4, **options: Any) -> list[Batch]:
    named = {name: options.pop(name) for name in list(options) if name not in UserData.__dataclass_fields__}
    arguments = {"_target_": f"tests.process.test_batches.{target}", **named}
    return batches.read(make_cell(batch_size=size, data=UserData(name="mine", arguments=arguments, **options)))


def pairs(*sizes: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    count = 0
    for size in sizes:
        numbers = torch.arange(count, count + size)
        yield numbers[:, None].float(), numbers
        count += size


def pairs_of_targets(*sizes: int) -> Iterator[tuple[torch.Tensor, list[torch.Tensor]]]:
    for rows, numbers in pairs(*sizes):
        yield rows, [numbers, numbers[:, None].float()]


class WithTwoTargets(torch.utils.data.Dataset[Any]):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, number: int) -> tuple[torch.Tensor, tuple[int, torch.Tensor]]:
        return torch.full((1,), float(number)), (number, torch.zeros(4))


def named() -> Iterator[dict[str, Any]]:
    for _ in range(3):
        yield {"ids": torch.ones(4, 2, dtype=torch.int64), "mask": numpy.ones((4, 2)), "labels": ["a", "b", "c", "d"]}


class Samples(torch.utils.data.Dataset[Any]):
    def __len__(self) -> int:
        return 100

    def __getitem__(self, number: int) -> tuple[Any, int]:
        return numpy.full(3, number, dtype=numpy.float64), number


class Stream(torch.utils.data.IterableDataset[Any]):
    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(torch.arange(10.0)[:, None])


def ragged() -> Iterator[torch.Tensor]:
    yield torch.ones(3, 5)
    yield torch.ones(3, 6)


def graphs() -> Iterator[tuple[Any, None]]:
    for nodes in (5, 5, 7):
        yield (torch.ones(nodes, 8), torch.zeros(2, 9, dtype=torch.int64)), None


def shuffled() -> Iterator[torch.Tensor]:
    numbers = list(range(8))
    random.shuffle(numbers)
    yield torch.tensor(numbers) + torch.rand(8) + torch.tensor(numpy.random.random(8))


def a_file() -> Iterator[torch.Tensor]:
    yield torch.full((4,), float(Path("here.txt").read_text()))


class Rows:
    """Like a data set of another library: samples by number, and no class of torch's."""

    def __len__(self) -> int:
        return 9

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"ids": torch.full((5,), number), "label": number}


def detected() -> Iterator[tuple[Any, Any]]:
    yield (torch.ones(3, 8, 8), torch.ones(3, 8, 8)), ({"boxes": 1}, {"boxes": 2})


def images() -> Iterator[list[torch.Tensor]]:
    yield [torch.ones(3, 8, 8)] * 3


def nothing() -> list[Any]:
    return []


def fails() -> Iterator[torch.Tensor]:
    yield torch.ones(4, 2)
    raise OSError("the disk is gone")


def a_tensor() -> torch.Tensor:
    return torch.ones(4)


@pytest.mark.parametrize("sizes", [(4, 4, 4), (12,), (1,) * 12, (5, 7), (3, 9, 2)])
def test_batches_are_cut_and_joined_to_the_size_of_the_cell(make_cell: MakeCell, sizes: tuple[int, ...]) -> None:
    read = of(make_cell, "pairs", _args_=list(sizes))
    assert [batch.targets.tolist() for batch in read] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert all(torch.equal(batch.inputs[:, 0], batch.targets.float()) for batch in read)


def test_no_more_is_read_than_asked(make_cell: MakeCell) -> None:
    assert len(of(make_cell, "pairs", _args_=[4] * 100, samples=10)) == 2
    assert len(of(make_cell, "pairs", _args_=[4] * 100, samples=1)) == 1
    assert len(of(make_cell, "fails", samples=4)) == 1


def test_the_samples_of_a_data_set_are_chosen_by_the_seed(make_cell: MakeCell) -> None:
    first, second = (of(make_cell, "Samples", samples=40) for _ in range(2))
    chosen = [number for batch in first for number in batch.targets.tolist()]
    assert len(set(chosen)) == 40
    assert max(chosen) > 60
    assert chosen == [number for batch in second for number in batch.targets.tolist()]
    assert [batch.inputs.tolist() for batch in of(make_cell, "Stream")] == [
        [[0.0], [1.0], [2.0], [3.0]],
        [[4.0], [5.0], [6.0], [7.0]],
    ]


def test_what_is_shuffled_by_a_generator_of_the_process_is_the_same_in_each(make_cell: MakeCell) -> None:
    first, second = (of(make_cell, "shuffled", size=8) for _ in range(2))
    assert torch.equal(first[0].inputs, second[0].inputs)


def test_a_mapping_gives_inputs_by_name_and_what_is_right_by_its_key(make_cell: MakeCell) -> None:
    batch = of(make_cell, "named", targets="labels")[0]
    assert (list(batch.inputs), batch.targets) == (["ids", "mask"], ["a", "b", "c", "d"])
    assert of(make_cell, "named", size=2, targets="labels")[1].targets == ("c", "d")


def test_what_is_like_a_data_set_is_one(make_cell: MakeCell) -> None:
    first, second = of(make_cell, "Rows", targets="label")
    assert first.inputs["ids"].shape == second.inputs["ids"].shape == (4, 5)
    assert first.inputs["ids"][:, 0].tolist() == first.targets.tolist()
    fewer = of(make_cell, "Rows", targets="label", samples=4)
    assert torch.equal(fewer[0].targets, first.targets)  # how many are read changes none of them


def test_images_of_unlike_sizes_are_no_batch(make_cell: MakeCell) -> None:
    with pytest.raises(BadData, match="rebatch=false takes each batch"):
        of(make_cell, "detected", size=1)


def test_graphs_are_no_samples_of_a_batch(make_cell: MakeCell) -> None:
    with pytest.raises(BadData, match="rebatch=false takes each batch"):
        of(make_cell, "graphs", size=1)
    read = of(make_cell, "graphs", size=1, rebatch=False)
    found = batches.given(read, None, LINEAR)
    assert [len(data.tensors(one)[0]) for one in found.inputs] == [5, 5]
    assert (found.left_out, found.samples) == (1, None)


def test_a_batch_that_is_taken_as_it_is_says_how_many_samples_it_holds(make_cell: MakeCell) -> None:
    mine = UserData(name="mine", arguments={"_target_": "a.b"}, rebatch=False)
    cell = make_cell(model=Model(name="any", config={"_target_": "a.b"}), batch_size=4, data=mine)

    def feed(target: str, *sizes: int) -> Feed:
        return Feed(cell, LINEAR, torch.device("cpu"), of(make_cell, target, _args_=list(sizes), rebatch=False))

    assert feed("pairs", 7, 7).samples == 7
    assert feed("detected").samples == 2
    assert feed("pairs_of_targets", 7, 7).samples == 7
    assert Feed(make_cell(batch_size=4), LINEAR, torch.device("cpu"), []).samples == 4
    cut = of(make_cell, "WithTwoTargets")
    as_it_is_not = make_cell(model=cell.model, batch_size=4, data=replace(mine, rebatch=True))
    assert Feed(as_it_is_not, LINEAR, torch.device("cpu"), cut).samples == 4


def test_the_samples_of_a_list_are_not_cut(make_cell: MakeCell) -> None:
    image = {"shape": [3, 8, 8]}
    model = Model(name="detector", config={"_target_": "a.b", "inputs": [{"times": "batch", "of": image}]})
    mine = UserData(name="mine", arguments={"_target_": "tests.process.test_batches.images"})
    with pytest.raises(BadData, match="called with a list of samples"):
        batches.read(make_cell(model=model, batch_size=1, data=mine))
    as_it_is = make_cell(model=model, batch_size=3, data=replace(mine, rebatch=False))
    found = batches.given(batches.read(as_it_is), inputs.describe(model.config, 3), LINEAR)
    assert (len(data.tensors(found.inputs[0])), found.samples) == (3, 3)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("nothing", "no batch of 4 samples"),
        ("a_tensor", "it is a Tensor, and must be a Dataset, or yield batches"),
        ("fails", "OSError: the disk is gone"),
        ("nosuch", "has no 'nosuch'"),
        ("ragged", "cannot be joined to a batch"),
        ("named", "no mapping that holds 'label'"),
    ],
)
def test_what_cannot_be_read_is_said(make_cell: MakeCell, target: str, said: str) -> None:
    with pytest.raises(BadData, match=said):
        of(make_cell, target, targets="label" if target == "named" else None)


def test_files_are_found_from_where_the_sweep_was_started(make_cell: MakeCell, tmp_path: Path) -> None:
    (tmp_path / "here.txt").write_text("7")
    arguments = {"_target_": "tests.process.test_batches.a_file"}
    cell = make_cell(batch_size=4, data=UserData(name="m", arguments=arguments), python_path=(str(tmp_path),))
    assert batches.read(cell)[0].inputs.tolist() == [7.0] * 4


def described(**config: Any) -> inputs.Description:
    return inputs.describe({"_target_": "a.B", **config})


TENSOR = {"shape": ["batch", 3]}


def test_what_a_batch_holds_goes_where_the_config_says() -> None:
    one, other = torch.ones(2, 3), torch.zeros(2, 5)
    for_one = batches.given([Batch(inputs=one)], described(inputs={"x": TENSOR, "scale": 0.5}), LINEAR)
    assert for_one.called_with.kwargs == {"x": TensorSpec(shape=(2, 3)), "scale": 0.5}
    assert for_one.inputs == (one,)
    nest = described(inputs=[{"tuple": [TENSOR, TENSOR]}, True])
    in_order = batches.given([Batch(inputs=[one, other])], nest, LINEAR)
    assert in_order.called_with.args == ((TensorSpec(shape=(2, 3)), TensorSpec(shape=(2, 5))), True)
    by_name = batches.given(
        [Batch(inputs={"y": other, "x": one})], described(inputs={"x": TENSOR, "flag": False}), LINEAR
    )
    assert list(by_name.called_with.kwargs) == ["x", "flag", "y"]
    assert [data.tensors(by_name.inputs[0])[n].shape[1] for n in (0, 1)] == [3, 5]
    assert batches.given([Batch(inputs=one)], None, LINEAR).called_with.args == (TensorSpec(shape=(2, 3)),)


def test_what_a_batch_lacks_is_said() -> None:
    with pytest.raises(BadData, match="it yields no mask, which the model is called with: it has x"):
        batches.given([Batch(inputs={"x": torch.ones(2)})], described(inputs={"x": TENSOR, "mask": TENSOR}), LINEAR)
    with pytest.raises(BadData, match="hold 1 tensors, and the model is called with 2"):
        batches.given([Batch(inputs=torch.ones(2))], described(inputs=[TENSOR, TENSOR]), LINEAR)
    with pytest.raises(BadData, match="hold no tensor"):
        batches.given([Batch(inputs="text")], None, LINEAR)


def test_floats_of_numpy_are_narrowed_for_a_model_that_is_not_wide() -> None:
    wide = [Batch(inputs=torch.ones(2, 3, dtype=torch.float64))]
    assert data.tensors(batches.given(wide, None, LINEAR).inputs[0])[0].dtype == torch.float32
    assert data.tensors(batches.given(wide, None, torch.nn.Linear(8, 4).double()).inputs[0])[0].dtype == torch.float64


def test_unseen_inputs_are_rows_that_are_there_in_other_batches() -> None:
    known = [(torch.randn(2, 6), torch.randint(0, 9, (2, 1))) for _ in range(5)]
    pairs_ = [pair for floats, numbers in known for pair in zip(floats, numbers, strict=True)]
    rows = {tuple(row.tolist()): number.item() for row, number in pairs_}
    made = list(islice(data.unseen(known, 0, seen=3), 12))
    assert [torch.equal(made[n][1], known[n + 3][1]) for n in (0, 1)] == [True, True]  # those that nobody had yet
    for floats, numbers in made:
        assert floats.shape == (2, 6)
        for row, number in zip(floats, numbers, strict=True):
            near = [of for of in rows if torch.allclose(row, torch.tensor(of), rtol=0.01)]
            assert [rows[of] for of in near] == [number.item()]
            assert tuple(row.tolist()) not in rows


def test_of_what_has_no_rows_floats_differ_a_little() -> None:
    graph = (torch.randn(5, 3), torch.randint(0, 5, (2, 9)))
    for floats, edges in islice(data.unseen([graph], 0), 3):
        assert torch.equal(edges, graph[1])
        assert torch.allclose(floats, graph[0], rtol=0.01)
        assert not torch.equal(floats, graph[0])


@pytest.mark.parametrize("count", [1, 2])
def test_what_is_compared_is_another_input_than_what_is_converted_with(make_cell: MakeCell, count: int) -> None:
    read = [Batch(inputs=torch.randn(4, 8)) for _ in range(count)]
    cell = make_cell(batch_size=4, data=UserData(name="d", arguments={"_target_": "a.b"}))
    example, *others = Feed(cell, LINEAR, torch.device("cpu"), read).first()
    assert len(others) == 3
    assert not any(data.same(example, other) for other in others)


def test_the_digest_is_of_inputs_and_targets() -> None:
    def digest(x: float, y: float) -> str:
        return batches.given([Batch(inputs=torch.full((2,), x), targets=torch.full((2,), y))], None, LINEAR).digest

    assert digest(1, 2) == digest(1, 2)
    assert len({digest(1, 2), digest(1, 3), digest(2, 2)}) == 3
    right: list[Any] = [["a"], ["b"], {"a": 1}]
    texts = {batches.given([Batch(inputs=torch.ones(2), targets=one)], None, LINEAR).digest for one in right}
    assert len(texts) == 3


def test_the_keys_of_mappings_have_one_order_and_constants_one_value() -> None:
    a, b = torch.zeros(2, 1), torch.ones(2, 1)
    made = ({"a": a, "b": b, "n": 3}, {"b": b, "n": 3, "a": a}, {"a": a, "b": b, "n": 7})
    found = batches.given([Batch(inputs=one) for one in made], None, LINEAR)
    assert [[float(x[0, 0]) for x in data.tensors(one)] for one in found.inputs] == [[0, 1], [0, 1]]
    assert found.left_out == 1


def test_floats_have_the_type_that_is_described() -> None:
    half = described(inputs={"x": {**TENSOR, "dtype": "bfloat16"}})
    for given in (torch.ones(2, 3), {"x": torch.ones(2, 3)}):
        (value,) = data.tensors(batches.given([Batch(inputs=given)], half, LINEAR).inputs[0])
        assert value.dtype == torch.bfloat16
    with pytest.raises(BadData, match="by name, and the model is called with some by position"):
        batches.given([Batch(inputs={"m": torch.ones(2)})], described(inputs={"_args_": [TENSOR], "m": TENSOR}), LINEAR)


LOGITS = [torch.tensor([[2.0, 1.0], [1.0, 2.0]]), torch.tensor([[3.0, 0.0], [1.0, 0.0]])]
LABELS = [torch.tensor([0, 1]), torch.tensor([0, 1])]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("tests.process.digits.accuracy", 0.75),
        ({"_target_": "torchmetrics.classification.MulticlassAccuracy", "num_classes": 2, "average": "micro"}, 0.75),
        (
            {
                "_target_": "torchmetrics.functional.accuracy",
                "_partial_": True,
                "task": "multiclass",
                "num_classes": 2,
            },
            0.75,
        ),
        ("torchmetrics.MeanSquaredError", None),
        ("math.nan", None),
        ("tests.process.test_batches.not_a_number", None),
    ],
)
def test_a_metric_is_a_function_or_one_of_torchmetrics(wanted: Any, expected: float | None) -> None:
    if expected is None:
        with pytest.raises(BadData, match="its metric"):
            metric.value(wanted, LOGITS, LABELS)
    else:
        assert metric.value(wanted, LOGITS, LABELS) == pytest.approx(expected)


def not_a_number(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return float("nan")


def keys(outputs: dict[str, torch.Tensor], targets: Any) -> float:
    assert targets == ["a", "b", "c"]
    return float(outputs["logits"].sum())


def test_a_metric_has_the_parts_of_outputs_by_their_names_and_lists_as_lists() -> None:
    answers = [{"logits": torch.ones(2), "x": torch.ones(1)}, {"logits": torch.ones(1), "x": torch.ones(1)}]
    assert metric.value("tests.process.test_batches.keys", answers, [["a", "b"], ["c"]]) == 3


def majority(logits: torch.Tensor, labels: torch.Tensor) -> float:
    return float((logits.argmax(1) == labels).float().mean())


def test_one_answer_for_all_is_nonsense_too() -> None:
    labels = torch.tensor([0] * 19 + [1])
    logits = torch.nn.functional.one_hot(labels, 2).float()
    found, targets = list(logits.reshape(5, 4, 2)), list(labels.reshape(5, 4))
    of_nonsense = metric._of_nonsense("tests.process.test_batches.majority", found, targets)
    assert max(of_nonsense) == pytest.approx(0.95)
    named = [{"a": one, "b": one} for one in found]
    assert len(metric._of_nonsense("tests.process.test_batches.of_named", named, targets)) == 2
    two = list(logits[-2:].reshape(2, 1, 2)), list(labels[-2:].reshape(2, 1))
    single = metric._of_nonsense("tests.process.test_batches.majority", *two)
    assert single[0] == 0  # the two are exchanged


def of_named(outputs: dict[str, torch.Tensor], labels: torch.Tensor) -> float:
    return majority(outputs["b"], labels)


def test_the_trained_model_is_good_at_what_it_was_trained_on(tmp_path: Path) -> None:
    digits.trained(tmp_path / "weights.pt")
    model = digits.Digits()
    model.load_state_dict(torch.load(tmp_path / "weights.pt"))
    images, labels = digits.images_and_labels(tested=True)
    assert digits.accuracy(model(images), labels) > 0.9
