"""Folders and state dicts of transformers and timm, in safetensors and torch's formats."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import timm.models
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from models import FAMILIES, timm_resnet
from oracle import Oracle, Tensors, tensor, writes
from torch_oracle import flat, parameters


def safetensors(*files: Path) -> Tensors:
    """What the reference reader finds in the files."""
    return {name: record for path in files for name, record in flat(load_file(path)).items()}


def facts(model: Any, family: str) -> dict[str, Any]:
    """What the folder's configuration and the library say about the model."""
    return {"family": family, "class_": type(model).__name__, "parameters": parameters(model)}


def folder(make: Callable[[], Any], family: str, folder: Path, **options: Any) -> Oracle:
    """`save_pretrained`, and `from_pretrained` as the proof that the library reads it."""
    model = make()
    target = folder / "model"
    model.save_pretrained(target, **options)
    loaded = type(model).from_pretrained(target)
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())
    config = json.loads((target / "config.json").read_text())
    metadata = {"model_type": config["model_type"]} | {
        key: config[key] for key in ("vocab_size", "hidden_size", "d_model", "n_embd") if key in config
    }
    return Oracle(
        "model", safetensors(*sorted(target.glob("*.safetensors"))), metadata=metadata, **facts(model, family)
    )


def state_dict(make: Callable[[], Any], family: str, folder: Path, *, legacy: bool) -> Oracle:
    """The older `pytorch_model.bin`, alone: no configuration tells what it is, but the names do."""
    model = make()
    torch.save(model.state_dict(), folder / "pytorch_model.bin", _use_new_zipfile_serialization=not legacy)
    loaded = torch.load(folder / "pytorch_model.bin", weights_only=True)
    return Oracle("pytorch_model.bin", flat(loaded), family=family, parameters=parameters(model))


for family, make in FAMILIES.items():
    writes(f"safetensors/{family}")(partial(folder, make, family))
    writes(f"torch/{family}")(partial(state_dict, make, family, legacy=False))
for family in ("bert", "t5"):
    writes(f"torch-legacy/{family}")(partial(state_dict, FAMILIES[family], family, legacy=True))


@writes("safetensors/sharded")
def _(path: Path) -> Oracle:
    oracle = folder(FAMILIES["llama"], "llama", path, max_shard_size="12KB")
    assert len(list((path / "model").glob("*.safetensors"))) > 2
    return oracle


@writes("torch/sharded")
def _(path: Path) -> Oracle:
    # transformers 5 writes safetensors only; the layout is that of its older releases and of huggingface_hub.
    from huggingface_hub import save_torch_model

    model = FAMILIES["gpt2"]()
    target = path / "model"
    target.mkdir(exist_ok=True)
    save_torch_model(model, str(target), safe_serialization=False, max_shard_size="20KB")
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(target)
    files = sorted(target.glob("pytorch_model-*.bin"))
    assert len(files) > 2
    found = {key: value for file in files for key, value in torch.load(file, weights_only=True).items()}
    return Oracle("model", flat(found), **facts(model, "gpt2"))


@writes("safetensors/timm-resnet")
def _(path: Path) -> Oracle:
    model = timm_resnet()
    target = path / "model"
    timm.models.save_for_hf(model, target, safe_serialization=True)
    config = json.loads((target / "config.json").read_text())
    return Oracle(
        "model",
        safetensors(target / "model.safetensors"),
        family="resnet",
        class_=config["architecture"],
        parameters=parameters(model),
        metadata={"architecture": config["architecture"], "num_classes": 5},
    )


@writes("torch/timm-resnet")
def _(path: Path) -> Oracle:
    return state_dict(timm_resnet, "resnet", path, legacy=False)


@writes("safetensors/dtypes")
def _(path: Path) -> Oracle:
    from writers.torch_values import every_dtype

    # The format has no complex numbers but C64.
    values = {name: value for name, value in every_dtype().items() if name not in {"c32", "c128"}}
    save_file(values, path / "model.safetensors", metadata={"format": "pt", "author": "Zoë", "empty": ""})
    with safe_open(path / "model.safetensors", "pt") as file:
        metadata = file.metadata()
    return Oracle("model.safetensors", safetensors(path / "model.safetensors"), metadata=metadata)


@writes("safetensors/empty")
def _(path: Path) -> Oracle:
    save_file({}, path / "model.safetensors", metadata={"format": "pt"})
    return Oracle("model.safetensors", safetensors(path / "model.safetensors"))


@writes("safetensors/names")
def _(path: Path) -> Oracle:
    values = {"": torch.ones(1), "Gewicht/größe 重み": torch.arange(3.0), 'quote"and\\slash': torch.zeros(2, 0, 3)}
    save_file(values, path / "model.safetensors")
    return Oracle("model.safetensors", safetensors(path / "model.safetensors"))


@writes("safetensors/mlx")
def _(path: Path) -> Oracle:
    # The layout of mlx-lm's quantised models; its library runs on Apple's machines.
    target = path / "model"
    target.mkdir(exist_ok=True)
    prefix = "model.layers.0.self_attn.q_proj"
    values = {
        f"{prefix}.weight": torch.arange(32 * 8, dtype=torch.int64).to(torch.uint32).reshape(32, 8),
        f"{prefix}.scales": torch.linspace(0.01, 0.02, 32).reshape(32, 1).to(torch.bfloat16),
        f"{prefix}.biases": torch.linspace(-1, 1, 32).reshape(32, 1).to(torch.bfloat16),
        "model.norm.weight": torch.ones(64, dtype=torch.bfloat16),
    }
    save_file(values, target / "model.safetensors", metadata={"format": "mlx"})
    config = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": 64,
        "quantization": {"group_size": 64, "bits": 4, "mode": "affine"},
    }
    (target / "config.json").write_text(json.dumps(config))
    return Oracle(
        "model",
        safetensors(target / "model.safetensors"),
        family="llama",
        class_="LlamaForCausalLM",
        metadata={"format": "mlx", "bits": 4, "group_size": 64},
    )


@writes("safetensors/fp6")
def _(path: Path) -> Oracle:
    # No library of today writes 6-bit floats, but the reference reader accepts them.
    data = bytes(range(36))
    names = {"a": ("F6_E2M3", [4, 6]), "b": ("F6_E3M2", [24])}
    header = {key: {"dtype": kind, "shape": shape, "data_offsets": [18 * place, 18 * place + 18]}
              for place, (key, (kind, shape)) in enumerate(names.items())}  # fmt: skip
    text = json.dumps(header).encode()
    (path / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)
    with safe_open(path / "model.safetensors", "np") as file:
        assert sorted(file.keys()) == ["a", "b"]
        found = {key: (view.get_dtype(), view.get_shape()) for key in names if (view := file.get_slice(key))}
    return Oracle(
        "model.safetensors",
        {key: tensor(kind, shape, data[18 * place :][:18]) for place, (key, (kind, shape)) in enumerate(found.items())},
    )
