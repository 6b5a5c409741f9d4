from dataclasses import replace

from sweep.cell import Device, Limits, Measure, Mode, Model, Request, Rule
from sweep.plan.cells import expand

REQUEST = Request(
    model=Model(name="mlp", config={"_target_": "a.B", "input": {"shape": [4]}}),
    device=Device(name="cpu"),
    conversions=("EAGER", "ONNX_CPU"),
)


def test_every_name_asked_for_is_a_cell_known_or_not(modes: dict[str, Mode]) -> None:
    cells = expand([replace(REQUEST, conversions=("EAGER", "OPENVINO"))], modes)
    assert [(cell.conversion, cell.mode is not None) for cell in cells] == [("EAGER", True), ("OPENVINO", False)]


def test_a_rule_takes_every_mode_it_fits_in_the_registrys_order(modes: dict[str, Mode]) -> None:
    cells = expand([replace(REQUEST, conversions=Rule())], modes)
    assert [cell.conversion for cell in cells] == list(modes)


def test_ids_are_stable_readable_and_safe_in_paths(modes: dict[str, Mode]) -> None:
    odd = replace(REQUEST, model=Model(name="../my Model/€", config={}), conversions=("FP16+EAGER", "../../etc"))
    first, second = expand([odd], modes), expand([odd], modes)
    assert [cell.id for cell in first] == [cell.id for cell in second]
    assert first[0].id.startswith("_my_model_-fp16+eager-cpu-b1-")
    assert all("/" not in cell.id and ".." not in cell.id for cell in first)


def test_an_id_changes_with_whatever_changes_the_meaning(modes: dict[str, Mode]) -> None:
    variants = [
        REQUEST,
        replace(REQUEST, batch_size=2),
        replace(REQUEST, threads=1),
        replace(REQUEST, seed=1),
        replace(REQUEST, device=Device(name="cuda", kind="cuda", gpus=1)),
        replace(REQUEST, measure=Measure(min_seconds=2)),
        replace(REQUEST, model=replace(REQUEST.model, config={"_target_": "a.C"})),
        replace(REQUEST, model=replace(REQUEST.model, name="other")),
    ]
    cells = expand(variants, modes)
    assert len({cell.id for cell in cells}) == len(cells) == 2 * len(variants)
    assert not any(cell.duplicate_of for cell in cells)


def test_more_time_does_not_make_another_cell(modes: dict[str, Mode]) -> None:
    cells = expand([REQUEST], modes)
    patient = expand([replace(REQUEST, limits=Limits(total=9999))], modes)
    assert [cell.id for cell in cells] == [cell.id for cell in patient]


def test_what_is_asked_twice_is_kept_and_marked(modes: dict[str, Mode]) -> None:
    cells = expand([replace(REQUEST, conversions=("EAGER", "EAGER", "EAGER"))], modes)
    assert len({cell.id for cell in cells}) == 3
    assert [cell.duplicate_of for cell in cells] == [None, cells[0].id, cells[0].id]
