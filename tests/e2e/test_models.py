"""The examples of docs/models.md, run as they stand there, and models of whole libraries."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import QUICKLY, Ran, Sweep

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "models.md").read_text()
COMMANDS = [
    shlex.split(line.replace("\\\n", ""))[3:]
    for block in re.findall(r"```console\n(.*?)```", GUIDE, re.S)
    for line in re.findall(r"^\$ ((?:.*\\\n)*.*)", block, re.M)
    if not re.search(r"rules=|exclude=", line)
]
FILES = dict(re.findall(r"```yaml\n# (my_conf/\S+)\n(.*?)```", GUIDE, re.S))

CODE = """
import torch

class MyModel(torch.nn.Sequential):
    def __init__(self, width):
        super().__init__(torch.nn.Conv2d(3, width, 7, 8), torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten())

def test_set(split):
    made = torch.Generator().manual_seed(1)
    images = torch.randn(96, 3, 32, 32, generator=made)
    return torch.utils.data.TensorDataset(images, (images[:, 0].mean((1, 2)) > 0).long())

def accuracy(outputs, labels):
    return (outputs.argmax(1) % 2 == labels).float().mean()

class Reader(torch.nn.Module):
    def __init__(self, vocabulary):
        super().__init__()
        self.embedding, self.head = torch.nn.Embedding(vocabulary, 16), torch.nn.Linear(16, 5)

    def forward(self, ids, mask, scale):
        hidden = self.embedding(ids) * mask[..., None].to(self.head.weight.dtype)
        return {"hidden": hidden, "logits": self.head(hidden.sum(1)) * scale}

class Graph(torch.nn.Module):
    def __init__(self, features):
        super().__init__()
        self.own, self.theirs = torch.nn.Linear(features, 4), torch.nn.Linear(features, 4)

    def forward(self, x, edges):
        heard = torch.zeros(x.shape[0], 4, dtype=x.dtype).index_add(0, edges[1], self.theirs(x)[edges[0]])
        return torch.relu(self.own(x) + heard)
"""


@pytest.fixture
def guide(weird_path: Path) -> Path:
    """A folder with the files of the guide."""
    for name, text in FILES.items():
        (weird_path / name).parent.mkdir(parents=True, exist_ok=True)
        (weird_path / name).write_text(text)
    (weird_path / "mypackage.py").write_text(CODE)
    return weird_path


def rows_of(ran: Ran) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (ran.run / "results.jsonl").read_text().splitlines()]


def test_the_guide_has_examples() -> None:
    assert len(COMMANDS) >= 8
    assert len(FILES) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command)[:60])
def test_an_example_of_the_guide_gives_rows_that_are_ok(sweep: Sweep, guide: Path, command: list[str]) -> None:
    command = [part for part in command if not part.startswith("conversion")]
    if "model.name=bert-base-uncased" in command:  # of its twelve layers two show as much
        command.append("+model.config.num_hidden_layers=2")
    if "model.name=gpt2" in command:
        command.append("+model.config.n_layer=2")
    ran = sweep(*command, "conversion=EAGER,EXPORT+EAGER", "dispatch=serial", *QUICKLY)
    assert ran.code == 0, ran.err
    rows = rows_of(ran)
    assert rows
    assert {row["status"] for row in rows} == {"ok"}, [row["message"] for row in rows]
    asked = next((part.partition("=")[2].split(",") for part in command if part.startswith("model.name=")), None)
    assert asked is None or {row["model"] for row in rows} == set(asked)


def test_a_model_of_a_library_needs_a_name(sweep: Sweep) -> None:
    ran = sweep("+model=timm", "conversion=EAGER", "dispatch=serial")
    assert ran.code == 2
    assert "model.name" in ran.err


def test_what_is_misspelt_in_a_description_is_said_with_its_place(sweep: Sweep, guide: Path) -> None:
    (guide / "my_conf/model/reader.yaml").write_text(FILES["my_conf/model/reader.yaml"].replace("high:", "hgih:"))
    ran = sweep("--config-dir", "my_conf", "+model=reader", "conversion=EAGER", "dispatch=serial")
    assert ran.code == 2
    assert "unknown option model.inputs.ids.hgih: did you mean high" in ran.err


def test_a_description_that_makes_no_sense_is_a_bad_model(sweep: Sweep, guide: Path) -> None:
    text = (
        FILES["my_conf/model/reader.yaml"].replace("[batch, seq]", "[batch, sequence]").replace("like: ids", "like: id")
    )
    (guide / "my_conf/model/reader.yaml").write_text(text)
    ran = sweep("--config-dir", "my_conf", "+model=reader", "conversion=EAGER", "dispatch=serial")
    assert ran.statuses() == {"EAGER": "invalid/bad-model"}
    message = ran.rows["EAGER"]["message"]
    assert "there is no size 'sequence'" in message
    assert "mask: like id names no other tensor" in message


def test_a_package_that_a_model_needs_and_that_is_missing_is_said(sweep: Sweep, guide: Path) -> None:
    text = FILES["my_conf/model/mine.yaml"] + "needs: [torch-xla, tinm]\n"
    (guide / "my_conf/model/mine.yaml").write_text(text)
    ran = sweep("--config-dir", "my_conf", "+model=mine", "conversion=EAGER", "dispatch=serial")
    assert ran.statuses() == {"EAGER": "invalid/bad-model"}
    assert "unknown requirement 'tinm': did you mean timm" in ran.rows["EAGER"]["message"]


def test_a_model_without_its_package_is_left_out(sweep: Sweep, guide: Path) -> None:
    (guide / "my_conf/model/mine.yaml").write_text(FILES["my_conf/model/mine.yaml"] + "needs: [torch-xla]\n")
    ran = sweep("--config-dir", "my_conf", "+model=mine", "conversion=EAGER", "dispatch=serial")
    assert ran.statuses() == {"EAGER": "skipped/needs-package"}
    assert "torch-xla works with the torch of its own release only" in ran.rows["EAGER"]["message"]
