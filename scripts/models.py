"""Which models of whole libraries can be converted how: a table of statuses, in Markdown, for docs/models.md.

Each model is a sweep, of a small config with random weights. Why a row is not ok goes to standard error.

    scripts/models [OVERRIDES…], such as conversions=cpu_all
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CONVERSIONS = (
    *("EAGER", "EXPORT+EAGER", "JIT_TRACE", "ONNX_CPU", "COMPILE_INDUCTOR_DEFAULT", "EXPORT+AOT_INDUCTOR"),
    *("COMPILE_OPENVINO", "FP16+EAGER", "BF16+EAGER", "OPTIMUM_QUANTO_WI8", "OPTIMUM_QUANTO_WI4", "TORCH_SCRIPT"),
    *("ONNX+DYNAMO_EXPORT", "EXPORT+AI8WI8_STATIC_QUANTIZED", "NATIVE_CONVERT_AI8WI8_STATIC_QUANTIZED"),
)
BERT = "{num_hidden_layers: 2, hidden_size: 128, num_attention_heads: 2, intermediate_size: 256, vocab_size: 2000}"
GPT2 = "{n_layer: 2, n_embd: 128, n_head: 2}"
WHISPER = (
    "{d_model: 64, encoder_layers: 2, decoder_layers: 2, encoder_attention_heads: 2, decoder_attention_heads: 2, "
    "encoder_ffn_dim: 128, decoder_ffn_dim: 128, max_source_positions: 100}"
)
UNET = (
    "{sample_size: 32, in_channels: 3, out_channels: 3, block_out_channels: [32, 64], norm_num_groups: 8, "
    "down_block_types: [DownBlock2D, AttnDownBlock2D], up_block_types: [AttnUpBlock2D, UpBlock2D]}"
)


def hf(name: str, config: str, *more: str) -> tuple[str, ...]:
    return "+model=hf", f"model.name={name}", f"+model.config={config}", *more


MODELS: dict[str, tuple[str, ...]] = {
    "BERT, three inputs": hf("bert-base-uncased", BERT),
    "BERT, a classifier": hf("bert-base-uncased", BERT, "model.head=SequenceClassification"),
    "DistilBERT": hf("distilbert-base-uncased", "{n_layers: 2, dim: 128, n_heads: 2, hidden_dim: 256}"),
    "GPT-2": hf("gpt2", GPT2, "model.head=CausalLM"),
    "GPT-2 with a cache": hf("gpt2", GPT2, "model.head=CausalLM", "model.past=32", "model.seq=1"),
    "T5": hf("t5-small", "{num_layers: 2, d_model: 128, d_kv: 32, d_ff: 256, num_heads: 4}"),
    "CLIP": hf("openai/clip-vit-base-patch32", f"{{text_config: {BERT}, vision_config: {BERT}}}", "model.seq=32"),
    "ViT": hf("google/vit-base-patch16-224", BERT),
    "Whisper": hf("openai/whisper-tiny", WHISPER),
    **{
        f"timm {name}": ("+model=timm", f"model.name={name}")
        for name in (
            *("resnet18", "convnext_atto", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "efficientnet_b0"),
        )
    },
    "torchvision deeplabv3": ("+model=torchvision", "model.name=deeplabv3_resnet50"),
    "torchvision faster-rcnn": ("+model=torchvision", "model.name=fasterrcnn_mobilenet_v3_large_320_fpn"),
    "LSTM with its state": ("--config-dir", "CONF", "+model=lstm"),
    "graph layer": ("--config-dir", "CONF", "+model=graph"),
    "diffusion U-Net": ("+model=diffusers", "model.name=UNet2DModel", f"+model.config={UNET}"),
    "diffusion VAE": ("+model=diffusers", "model.name=AutoencoderKL"),
}
OWN = {
    "model/lstm.yaml": """
_target_: torch.nn.LSTM
input_size: 16
hidden_size: 32
inputs:
  - {shape: [50, batch, 16]}
  - {tuple: [{shape: [1, batch, 32]}, {shape: [1, batch, 32]}]}
""",
    "model/graph.yaml": """
_target_: graph_layer.Graph
features: 16
nodes: 100
edges: 400
inputs:
  - {shape: [nodes, features]}
  - {shape: [2, edges], dtype: int64, high: nodes}
""",
    "../graph_layer.py": """
import torch

class Graph(torch.nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.own, self.theirs = torch.nn.Linear(features, 32), torch.nn.Linear(features, 32)

    def forward(self, nodes: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        heard = torch.zeros(nodes.shape[0], 32, dtype=nodes.dtype, device=nodes.device)
        heard = heard.index_add(0, edges[1], self.theirs(nodes)[edges[0]])
        return torch.relu(self.own(nodes) + heard)
""",
}
"""Files of models that no library has."""


def main(asked: list[str]) -> None:
    given = asked or [f"conversion={','.join(CONVERSIONS)}"]
    found: dict[str, dict[str, dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "conf" / "model").mkdir(parents=True)
        for file, text in OWN.items():
            (Path(folder) / "conf" / file).write_text(text)
        for name, overrides in MODELS.items():
            print(name, file=sys.stderr, flush=True)
            named = [part.replace("CONF", f"{folder}/conf") for part in overrides]
            found[name] = swept(Path(folder) / name, [*named, *given])
            for conversion, row in found[name].items():
                if row["status"] != "ok":
                    print(f"  {conversion}: {label(row)}: {row['message']}", file=sys.stderr, flush=True)
    conversions = list(dict.fromkeys(conversion for rows in found.values() for conversion in rows))
    print(*table(found, conversions), sep="\n")


def swept(run: Path, overrides: Iterable[str]) -> dict[str, dict[str, Any]]:
    command = [
        sys.executable,
        "-m",
        "sweep",
        *overrides,
        "measure=quick",
        "dispatch=serial",
        f"hydra.sweep.dir='{run}'",
    ]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=run.parent, env=os.environ, check=False)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command)}: {ended.stderr[-2000:]}")
    rows = map(json.loads, (run / "results.jsonl").read_text().splitlines())
    return {row["conversion"]: row for row in rows}


def table(found: dict[str, dict[str, dict[str, Any]]], conversions: list[str]) -> Iterable[str]:
    yield f"| | {' | '.join(f'`{name}`' for name in conversions)} |"
    yield "|".join(["", *[" --- "] * (len(conversions) + 1), ""])
    for model, rows in found.items():
        yield f"| {model} | {' | '.join(label(rows.get(name)) for name in conversions)} |"


def label(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    return row["status"] if row["status"] == "ok" else f"{row['status']}/{row['reason']}"


if __name__ == "__main__":
    main(sys.argv[1:])
