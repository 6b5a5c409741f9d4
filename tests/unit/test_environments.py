"""Which conversions run in which environment, where that is, and what is said of one."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from tests.rows import ok

from sweep import reading
from sweep.cell import Cell, Device, Mode, Model, Phase, Request, Rule
from sweep.compare import matching
from sweep.compare.matching import ComparedRun
from sweep.dispatch.backlog import Backlog
from sweep.dispatch.node import Node, Nodes
from sweep.errors import BadRequest
from sweep.plan import changes, environments, make, validate
from sweep.plan.cells import expand
from sweep.plan.environments import ForConversions
from sweep.plan.inventory import Inventory, nodes_as_json
from sweep.plan.rules import Grid
from sweep.report import matrix
from sweep.request.compose import compose
from sweep.request.environments import resolved
from sweep.result import Outcome, not_run
from sweep.runtime_environment import Environment
from sweep.status import Reason
from sweep.verdict.decision import group_key

MakeCell = Callable[..., Cell]

OLD = Environment(name="old", runtime_env={"pip": ["torchao==0.15.0"], "env_vars": {"SOME": "1"}})
GRID = Grid(environments={"old": ForConversions(conversions=("TORCHAO_*", "JIT_TRACE"), runtime_env=OLD.runtime_env)})
REQUEST = Request(
    model=Model(name="mlp", config={"_target_": "a.B", "input": {"shape": [4]}}),
    device=Device(name="cpu"),
    conversions=("EAGER", "JIT_TRACE"),
)


@pytest.fixture
def here(modes: dict[str, Mode]) -> Inventory:
    return Inventory(
        id="1",
        modes=modes,
        found=frozenset({"torchao", "a C++ compiler"}),
        devices=frozenset({"cpu"}),
        versions={"torch": "2.13.0", "torchao": "0.18.0"},
        node="here",
        hardware="a CPU",
        cpus=2,
        memory=8000,
    )


@pytest.fixture
def in_old(here: Inventory) -> Inventory:
    found = here.found | {"torchao.autoquant"}
    return replace(here, environment=OLD, found=found, versions={"torch": "2.13.0", "torchao": "0.15.0"})


def test_a_cell_in_an_environment_is_another_and_those_without_stay_as_they_are(modes: dict[str, Mode]) -> None:
    eager, jit = expand([REQUEST], modes)
    same, in_old = expand([REQUEST], modes, GRID)
    assert same == eager
    assert (in_old.environment, in_old.environment_name, in_old.env) == (OLD, "old", ("SOME",))
    assert in_old.id != jit.id
    newer = ForConversions(conversions=("JIT_TRACE",), runtime_env={"pip": ["torchao==0.16.0"]})
    (again,) = expand([replace(REQUEST, conversions=("JIT_TRACE",))], modes, Grid(environments={"old": newer}))
    assert again.id == in_old.id  # versions are no part of what is asked
    (other,) = expand([replace(REQUEST, conversions=("JIT_TRACE",))], modes, Grid(environments={"new": newer}))
    assert other.id not in {jit.id, in_old.id}


def test_a_cell_is_read_again_with_its_environment_and_an_older_one_has_none(modes: dict[str, Mode]) -> None:
    _, cell = expand([REQUEST], modes, GRID)
    written = json.loads(json.dumps(asdict(cell)))
    assert reading.of(Cell).validate_python(written).environment == OLD
    del written["environment"]
    assert reading.of(Cell).validate_python(written).environment is None


def test_names_globs_and_rules_say_what_runs_in_it(modes: dict[str, Mode]) -> None:
    rule = ForConversions(conversions=(Rule(precision=("bf16",)), "ONNX+*"), runtime_env={"pip": ["a"]})
    taken = {name for name, mode in modes.items() if rule.takes(name, mode)}
    assert {"BF16+EAGER", "ONNX+DYNAMO_EXPORT"} <= taken
    assert not {"EAGER", "ONNX_CPU"} & taken


def test_only_environments_that_a_cell_may_need_are_made() -> None:
    by_rule = ForConversions(conversions=(Rule(),), runtime_env={"pip": ["a"]})
    both = {**GRID.environments, "all": by_rule}
    assert [one.name for one in environments.needed(both, [REQUEST])] == ["old", "all"]
    assert [one.name for one in environments.needed(both, [replace(REQUEST, conversions=("EAGER",))])] == ["all"]
    assert [one.name for one in environments.needed(GRID.environments, [replace(REQUEST, conversions=Rule())])] == [
        "old"
    ]


def test_a_name_that_does_not_exist_and_one_in_two_environments_are_refused_together(here: Inventory) -> None:
    grid = Grid(
        environments={
            "a": ForConversions(conversions=("JIT_TRCE", "JIT_TRACE"), runtime_env={"pip": ["a"]}),
            "b": ForConversions(conversions=("JIT_*", "NO SUCH*"), runtime_env={"pip": ["b"]}),
        }
    )
    with pytest.raises(BadRequest) as error:
        make([REQUEST], [here], grid)
    assert list(error.value.problems) == [
        "environments.a: unknown conversion 'JIT_TRCE': did you mean JIT_TRACE or FP16+JIT_TRACE?",
        "environments.b: unknown conversion 'NO SUCH*'",
        "environments: JIT_TRACE is in a and b, and can run in one of them only",
    ]


def test_an_environment_without_a_cell_is_said_before_anything_runs(here: Inventory, in_old: Inventory) -> None:
    plan = make([replace(REQUEST, conversions=("EAGER",))], [here, in_old], GRID)
    assert list(plan.doubts) == ["environments.old: none of its conversions is asked for"]


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (
            "{a: {conversions: [], runtime_env: {pip: [x], conda: y, xyz: z, pp: z, working_dir: .}}, "
            "b: {conversions: E, runtime_env: {}}}",
            [
                "environments.a: conversions must name one at least; unknown key runtime_env.xyz: there are conda, "
                "image_uri, pip, py_executable, uv, env_vars, config; unknown key runtime_env.pp: did you mean pip?; "
                "runtime_env.working_dir holds for all cells: write it as dispatch.working_dir; runtime_env has pip "
                "and conda: one of them can say which Python runs",
                "environments.b: runtime_env must hold something, such as {pip: [torchao==0.16.0]}",
            ],
        ),
        ("{a: {conversion: EAGER, runtime_env: {pip: [x]}}}", ["unknown option environments.a.conversion"]),
        ("{a: {conversions: E, runtime_env: {pip: no.txt}}}", ["environments.a: runtime_env.pip must be a list of"]),
        ("{a: {conversions: E, runtime_env: {pip: {package: [x]}}}}", ["unknown key runtime_env.pip.package"]),
        ("{a: {conversions: E, runtime_env: {env_vars: {A: [1]}}}}", ["runtime_env.env_vars must hold a text"]),
        ("{a: E}", ["environments.a must hold conversions, runtime_env"]),
        ("3", ["environments must hold options"]),
    ],
)
def test_what_is_no_environment_is_refused_with_all_that_is_wrong(written: str, said: list[str]) -> None:
    option = f"+environments={written}" if written.startswith("{") else f"environments={written}"
    with pytest.raises(BadRequest) as error:
        compose(["+model=mlp", option])
    assert len(error.value.problems) == len(said)
    for problem, one in zip(error.value.problems, said, strict=True):
        assert one in problem


def test_environments_need_ray_and_say_alone_which_python_runs() -> None:
    one = "+environments={a: {conversions: EAGER, runtime_env: {pip: [x]}}}"
    for more, said in (("dispatch=serial", "need Ray"), ("+dispatch.runtime_env.pip=[y]", "cannot both say")):
        with pytest.raises(BadRequest, match=said):
            compose(["+model=mlp", one, more])


def test_an_environment_is_composed_of_presets_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needs.txt").write_text("# what it needs\ntorchao==0.15.0  # the last with autoquant\n\n./mine.whl\n")
    (tmp_path / "mine.whl").touch()
    monkeypatch.chdir(tmp_path)
    written = "{a: {conversions: [quick, reduced, MY*], runtime_env: {pip: needs.txt, env_vars: {N: 1, B: true}}}}"
    composed = compose(["+model=mlp", f"+environments={written}"])
    assert composed is not None
    (request,), settings = composed
    found = settings.grid.environments["a"]
    quick = ("EAGER", "COMPILE_INDUCTOR_DEFAULT", "ONNX_CPU", "COMPILE_OPENVINO")
    assert found.conversions == (*quick, Rule(precision=("fp16", "bf16")), "MY*")
    whole = str(tmp_path / "mine.whl")
    assert found.runtime_env == {"pip": ["torchao==0.15.0", whole], "env_vars": {"N": "1", "B": "true"}}
    assert request.overrides == {}


def test_requirements_that_are_no_files_stay_as_they_are() -> None:
    pip = ["git+https://host/a/b", "torchao==0.15.0", "/no/such.whl", 3]
    node = {"conversions": ["E"], "runtime_env": {"pip": {"packages": pip, "pip_install_options": ["--no-deps"]}}}
    assert resolved(node) == node
    found = Environment(name="a", runtime_env={"pip": {"packages": ["x"], "pip_install_options": ["--no-deps"]}})
    assert (found.packages, found.pip_options) == (("x",), ("--no-deps",))


def test_ray_is_asked_for_the_interpreter_that_was_made_whatever_its_path() -> None:
    assert OLD.of_ray("/a b/python") == {"env_vars": {"SOME": "1"}, "py_executable": "'/a b/python'"}
    assert Environment(name="c", runtime_env={"conda": "mine"}).of_ray() == {"conda": "mine"}


def test_what_only_an_environment_has_makes_a_cell_run_there(
    here: Inventory, in_old: Inventory, make_cell: MakeCell
) -> None:
    plain = make_cell(conversion="COMPILE_INDUCTOR_MAX_AUTOTUNE+TORCHAO_AUTOQUANT_DEFAULT", environment=None)
    inside = replace(plain, id="b", environment=OLD)
    ready, (row,) = validate.split_by_eligibility([plain, inside], [here, in_old])
    assert [cell.id for cell in ready] == ["b"]
    assert (row.reason, row.environment) == (Reason.NEEDS_PACKAGE, None)
    assert Node(has=in_old, cells=1).fits(inside)
    assert not Node(has=here, cells=1).fits(inside)
    assert not Node(has=in_old, cells=1).fits(plain)


def test_one_that_could_not_be_made_is_the_reason_in_the_rows_of_its_cells_only(
    here: Inventory, make_cell: MakeCell
) -> None:
    broken = replace(
        here, modes={}, environment=OLD, no_environment="the environment old could not be made on here: no"
    )
    ready, (row,) = validate.split_by_eligibility([make_cell(), make_cell(id="b", environment=OLD)], [here, broken])
    assert [cell.environment for cell in ready] == [None]
    assert (row.status, row.reason, row.environment) == ("skipped", Reason.NEEDS_PACKAGE, "old")
    assert row.message == broken.no_environment
    (row,) = validate.split_by_eligibility([make_cell(environment=OLD)], [here])[1]
    assert (row.reason, row.message) == (Reason.NO_NODE, "no node has the environment old")


def places(*inventories: Inventory) -> tuple[Nodes, list[Node]]:
    nodes = Nodes(None)
    for has in inventories:
        nodes.add(has)
    return nodes, list(nodes)


def test_the_places_of_a_machine_run_one_after_another_and_the_first_holds_it(
    here: Inventory, in_old: Inventory
) -> None:
    elsewhere = replace(here, id="2", node="there")
    nodes, (own, old, other) = places(here, in_old, elsewhere)
    assert nodes.beside(own) == [old]
    assert nodes.beside(other) == []
    own.actor_asked_for("actor", "starting", 0.0, holds=nodes.holder(own) is None)
    assert nodes.has_to_wait(old)  # it is about to have its turn
    own.came_up("0,1")
    assert not nodes.has_to_wait(old)
    assert not nodes.is_needed(own)
    own.launched("task", object(), alone=False)  # type: ignore[arg-type]
    assert nodes.has_to_wait(old)
    assert not nodes.has_to_wait(other)
    own.ended("task")
    holder = nodes.holder(old)
    assert holder is own
    old.actor_asked_for("actor", "starting", 1.0, holds=False)
    assert (holder.gpus, nodes.is_needed(own), nodes.is_needed(old)) == ("0,1", True, False)
    old.dismissed()
    assert not nodes.is_needed(own)
    own.dismissed()
    assert nodes.holder(old) is None


def test_a_doubted_place_is_used_where_its_environment_has_no_other(here: Inventory, in_old: Inventory) -> None:
    nodes, (own, old, _) = places(here, in_old, replace(here, id="2"))
    own.lost_a_cell(100.0)
    old.lost_a_cell(100.0)
    assert {node.has.place for node in nodes.by_trust(101.0)} == {"1 old", "2"}
    assert len(nodes.by_trust(999.0)) == 3
    nodes.keep(["1"])
    assert [node.has.place for node in nodes] == ["1", "1 old"]


def test_nobody_has_answered_while_only_environments_have_failed(here: Inventory) -> None:
    nodes, _ = places(replace(here, environment=OLD, no_environment="no"))
    assert nodes.none_answered
    nodes.add(here)
    assert not nodes.none_answered


def test_a_model_that_fails_in_one_environment_is_tried_in_the_others(make_cell: MakeCell) -> None:
    cells = [make_cell(id="a", environment=OLD), make_cell(id="b", environment=OLD), make_cell(id="c")]
    backlog = Backlog(cells, retries=0)
    first = backlog.take()
    assert first is not None
    failed = replace(not_run(first, Reason.RAISED, "it raises"), phase=Phase.EAGER)
    ended = backlog.ended(Outcome(result=failed, node="1 old"))
    assert {outcome.result.id: outcome.result.reason for outcome in ended} == {
        "a": Reason.RAISED,
        "b": Reason.EAGER_FAILS,
    }
    assert len(backlog) == 1


def test_rows_of_unlike_environments_are_in_tables_of_their_own() -> None:
    rows = [ok(id="a"), ok(id="b", environment="old"), ok(id="c", environment="new")]
    assert len({group_key(row) for row in rows}) == 3
    titles = [title for title, _ in matrix.groups(rows)]
    assert [title.partition(" · environment ")[2].partition(" · ")[0] for title in titles] == ["", "old", "new"]


def test_sweep_json_has_what_an_environment_is_and_what_was_found_in_it(here: Inventory, in_old: Inventory) -> None:
    broken = replace(in_old, node="there", versions={}, found=frozenset(), no_environment="no")
    about = json.loads(json.dumps(nodes_as_json([here, in_old, broken])))
    assert about["versions"] == {"torch": "2.13.0", "torchao": "0.18.0"}
    assert [node["name"] for node in about["nodes"]] == ["here"]
    assert about["environments"]["old"]["runtime_env"] == dict(OLD.runtime_env)
    assert about["environments"]["old"]["versions"] == {"torch": "2.13.0", "torchao": "0.15.0"}
    assert [(node["name"], node["problem"]) for node in about["environments"]["old"]["nodes"]] == [
        ("here", None),
        ("there", "no"),
    ]
    assert nodes_as_json([here])["environments"] == {}


def test_a_sweep_does_not_go_on_in_another_environment_by_itself(here: Inventory, in_old: Inventory) -> None:
    before = {"plan": [], **nodes_as_json([here, in_old])}
    assert changes.refusals(before, [], before) == []
    assert changes.refusals({"plan": []} | nodes_as_json([here]), [], nodes_as_json([here, in_old])) == []
    newer = replace(OLD, runtime_env={"pip": ["torchao==0.16.0"]})
    now = nodes_as_json([here, replace(in_old, environment=newer, versions={"torch": "2.13.0", "torchao": "0.16.0"})])
    (said,) = changes.refusals(before, [], now)
    assert 'environments.old.pip ["torchao==0.15.0"] → ["torchao==0.16.0"]' in said
    assert "in old torchao 0.15.0 → 0.16.0" in said
    made_now = {**before, "environments": {"old": {"runtime_env": dict(OLD.runtime_env), "versions": {}, "nodes": []}}}
    assert changes.refusals(made_now, [], before) == []  # it could not be made then


def test_a_comparison_tells_what_changed_in_an_environment(here: Inventory, in_old: Inventory) -> None:
    def run(name: str, base: str, inside: str) -> ComparedRun:
        row = ok(id="a", versions={"torch": base})
        other = ok(id="b", environment="old", versions={"torch": base, "torchao": inside})
        place = replace(in_old, versions={"torch": base, "torchao": inside})
        about = nodes_as_json([replace(here, versions={"torch": base}), place])
        return ComparedRun(
            name=name,
            rows={"a": row, "b": other},
            versions=about["versions"],
            environments=about["environments"],
        )

    assert matching.versions(run("x", "2.13.0", "0.15.0"), run("y", "2.13.0", "0.16.0")) == [
        "in old torchao 0.15.0 → 0.16.0"
    ]
    assert matching.versions(run("x", "2.13.0", "0.15.0"), run("y", "2.14.0", "0.15.0")) == ["torch 2.13.0 → 2.14.0"]


def test_a_cell_that_moved_to_an_environment_was_asked_differently(modes: dict[str, Mode]) -> None:
    _, plain = expand([REQUEST], modes)
    _, inside = expand([REQUEST], modes, GRID)
    sides = [
        ComparedRun(
            name=cell.id,
            rows={cell.id: ok(id=cell.id, conversion="JIT_TRACE", environment=cell.environment_name)},
            questions={cell.id: asdict(cell)},
            planned=frozenset([cell.id]),
        )
        for cell in (plain, inside)
    ]
    assert matching.aligned(*sides).rows.keys() == {inside.id}
    (renamed,) = matching.renamed([sides[0].rows[plain.id]], [sides[1].rows[inside.id]], *sides)
    assert renamed.differs == ("environment.name absent → old",)
