"""Models of whole libraries, by the names they have there, and what those are called with.

The shipped configs name these: `+model=timm model.name=resnet50`. A library is imported only where one of its models is
asked for. Weights are random, from the cell's seed, unless a config asks for others. What a library's documentation
says is to be set for export and tracing is set, and noted on the model, so that a row says it.
"""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

NOTES = "sweep_notes"
"""The attribute of a model that holds what a row is to say of it."""

DEFAULT_CONFIGS = {
    "bert-base-uncased": "bert",
    "distilbert-base-uncased": "distilbert",
    "roberta-base": "roberta",
    "gpt2": "gpt2",
    "t5-small": "t5",
    "google/vit-base-patch16-224": "vit",
    "openai/clip-vit-base-patch32": "clip",
    "openai/whisper-tiny": "whisper",
}
"""Models of the hub whose config is the default one of their type in transformers, which so needs no network."""


def timm_model(name: str, *, pretrained: bool = False, **arguments: Any) -> torch.nn.Module:
    """A model of timm, with layers that can be exported."""
    import timm

    model: torch.nn.Module = timm.create_model(name, pretrained=pretrained, exportable=True, **arguments)
    setattr(model, NOTES, ["is made with exportable=True"])
    return model


def timm_inputs(model: Any) -> list[Any]:
    """Images of the size that the model is configured for."""
    from timm.data import resolve_model_data_config

    return [{"shape": ["batch", *resolve_model_data_config(model)["input_size"]]}]


def torchvision_model(name: str, *, weights: str | None = None, **arguments: Any) -> torch.nn.Module:
    """A model of torchvision, and without weights its backbone without them too."""
    import torchvision

    builder = torchvision.models.get_model_builder(name)
    if weights is None and "weights_backbone" in inspect.signature(builder).parameters:
        arguments.setdefault("weights_backbone", None)
    model: torch.nn.Module = builder(weights=weights, **arguments)
    head = getattr(getattr(model, "heads", None), "head", None)
    if weights is None and isinstance(head, torch.nn.Linear) and not head.weight.any():
        torch.nn.init.normal_(head.weight, std=0.02)  # as torchvision begins it, every answer of a ViT is 0
    return model


def torchvision_inputs(model: torch.nn.Module, size: int | None = None) -> list[Any]:
    """Images, a list of them for a detector, frames for a model of video, two images for one of optical flow."""
    kind = type(model).__module__
    if ".detection" in kind:
        return [{"times": "batch", "of": {"shape": [3, size or 320, size or 320], "fill": "uniform"}}]
    if ".video" in kind:
        return [{"shape": ["batch", 3, 16, size or 112, size or 112]}]
    images = ["batch", 3, *[size or _usual_size(model)] * 2]
    return [{"shape": images}] * (2 if ".optical_flow" in kind else 1)


def _usual_size(model: torch.nn.Module) -> int:
    """Of a side of an image, in pixels."""
    own = getattr(model, "image_size", None)
    return own if isinstance(own, int) else 299 if type(model).__name__ == "Inception3" else 224


def hf_model(
    name: str,
    *,
    head: str | None = None,
    weights: str | None = None,
    config: Mapping[str, Any] | None = None,
    past: int = 0,
) -> torch.nn.Module:
    """A model of transformers: by a folder, a name of the hub, or a type (`bert`).

    `head` is what follows AutoModelFor in the class; `weights` of `pretrained` are those of the folder or the hub.
    `config` is what is changed of the model's own; `past` says that it is called with a cache, and gives one. Raises
    ValueError for another kind of weights or an unknown head, and what transformers raises.
    """
    import transformers

    if weights not in {None, "pretrained"}:
        raise ValueError(f"weights {weights!r}: null, for random ones, or pretrained")
    kind = getattr(transformers, f"AutoModelFor{head}" if head else "AutoModel", None)
    if kind is None:
        heads = (one.removeprefix("AutoModelFor") for one in dir(transformers) if one.startswith("AutoModelFor"))
        raise ValueError(f"head {head!r}: transformers has {', '.join(sorted(heads))}")
    if past:  # torch.export takes no other object than those it is told of
        from transformers.integrations.executorch import register_dynamic_cache_export_support

        register_dynamic_cache_export_support()
    settings = {"use_cache": past > 0, **(config or {})}
    if weights:
        model: torch.nn.Module = kind.from_pretrained(name, **settings)
    else:
        model = kind.from_config(_hf_config(name, settings))
    setattr(model, NOTES, [f"is made with use_cache={settings['use_cache']} and called with return_dict=False"])
    return model


def _hf_config(name: str, settings: Mapping[str, Any]) -> Any:
    from transformers import CONFIG_MAPPING, AutoConfig

    kind = DEFAULT_CONFIGS.get(name, name)
    if kind in CONFIG_MAPPING and not Path(name).is_dir():
        return AutoConfig.for_model(kind, **settings)
    return AutoConfig.from_pretrained(name, **settings)


def hf_inputs(model: Any, seq: int = 128, decoder_seq: int = 32, past: int = 0) -> dict[str, Any]:
    """What a model of transformers takes, by the parameters of its forward: token ids, masks, images, sound, a cache.

    `seq` and `decoder_seq` are lengths in tokens, `past` how many tokens are in the cache.
    """
    config, takes = model.config, inspect.signature(model.forward).parameters
    text, vision = getattr(config, "text_config", config), getattr(config, "vision_config", config)
    inputs: dict[str, Any] = {"return_dict": False}
    if "input_ids" in takes and model.main_input_name in {"input_ids", "pixel_values"} and hasattr(text, "vocab_size"):
        inputs["input_ids"] = {"shape": ["batch", seq], "dtype": "int64", "high": text.vocab_size}
        if "attention_mask" in takes:
            mask = {"shape": ["batch", past + seq], "dtype": "int64"}
            inputs["attention_mask"] = mask | {"fill": "ones" if past else "mask"}
        if "token_type_ids" in takes and getattr(text, "type_vocab_size", 0) > 1:
            inputs["token_type_ids"] = {"like": "input_ids", "dtype": "int64", "high": text.type_vocab_size}
    if "pixel_values" in takes:
        inputs["pixel_values"] = {"shape": ["batch", vision.num_channels, *[vision.image_size] * 2]}
    if "input_features" in takes:
        inputs["input_features"] = {"shape": ["batch", config.num_mel_bins, 2 * config.max_source_positions]}
    if "input_values" in takes:
        inputs["input_values"] = {"shape": ["batch", 16_000]}
    if config.is_encoder_decoder:
        inputs["decoder_input_ids"] = {"shape": ["batch", decoder_seq], "dtype": "int64", "high": text.vocab_size}
    if past:
        inputs["past_key_values"] = _hf_cache(config, past)
    return inputs


def _hf_cache(config: Any, past: int) -> dict[str, Any]:
    """A cache of so many tokens: keys and values of each layer."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    layer = {"shape": ["batch", heads, past, width]}
    layers = [{"tuple": [layer, layer]} for _ in range(config.num_hidden_layers)]
    return {"_target_": "transformers.DynamicCache", "ddp_cache_data": layers}


def diffusers_model(
    name: str, *, weights: str | None = None, subfolder: str | None = None, config: Mapping[str, Any] | None = None
) -> torch.nn.Module:
    """A model of diffusers by its class, such as UNet2DConditionModel; `weights` are a folder or a name of the hub."""
    import diffusers

    kind = getattr(diffusers, name)
    if weights is None:
        model: torch.nn.Module = kind(**(config or {}))
    else:
        model = kind.from_pretrained(weights, subfolder=subfolder, **(config or {}))
    setattr(model, NOTES, ["is called with return_dict=False"])
    return model


def diffusers_inputs(model: Any, size: int | None = None, tokens: int = 77) -> dict[str, Any]:
    """A sample of the model's size, or `size`, in pixels; a step, and so many tokens of text, where it takes them."""
    config, takes = model.config, inspect.signature(model.forward).parameters
    side = size or config.get("sample_size") or 64
    sample = {"shape": ["batch", config["in_channels"], side, side]}
    inputs: dict[str, Any] = {next(iter(takes)): sample, "return_dict": False}
    if "timestep" in takes:
        inputs["timestep"] = {"shape": ["batch"], "dtype": "int64", "high": 1000}
    if "encoder_hidden_states" in takes:
        width = config["cross_attention_dim"]
        inputs["encoder_hidden_states"] = {"shape": ["batch", tokens, width if isinstance(width, int) else width[0]]}
    return inputs
