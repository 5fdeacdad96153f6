"""Layouts whose own libraries do not install here: their structures, written with torch.

What is claimed about them is what torch loads from the parts, put together as the layout's documentation says.
"""

import argparse
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from tokenizers import models as token_models
from tokenizers import pre_tokenizers, trainers

from models import bert
from oracle import Oracle, writes
from torch_oracle import flat, optimizer, parameters
from writers.hf import safetensors
from writers.torch_optimizers import module, steps


@writes("whisper/openai")
def _(folder: Path) -> Oracle:
    # openai-whisper: sizes and a state dict.
    dims = {
        "n_mels": 8, "n_vocab": 51865, "n_audio_ctx": 20, "n_audio_state": 8, "n_audio_head": 2, "n_audio_layer": 1,
        "n_text_ctx": 16, "n_text_state": 8, "n_text_head": 2, "n_text_layer": 1,
    }  # fmt: skip
    torch.manual_seed(7)
    state = {
        "encoder.conv1.weight": torch.randn(8, 8, 3).half(),
        "encoder.positional_embedding": torch.randn(20, 8).half(),
        "encoder.blocks.0.attn.query.weight": torch.randn(8, 8).half(),
        "encoder.blocks.0.mlp.0.weight": torch.randn(32, 8).half(),
        "encoder.ln_post.bias": torch.randn(8).half(),
        "decoder.token_embedding.weight": torch.randn(64, 8).half(),
        "decoder.blocks.0.cross_attn.value.bias": torch.randn(8).half(),
        "decoder.ln.weight": torch.randn(8).half(),
    }
    torch.save({"dims": dims, "model_state_dict": state}, folder / "tiny.pt")
    loaded = torch.load(folder / "tiny.pt", weights_only=True)
    return Oracle("tiny.pt", flat(loaded["model_state_dict"]), family="whisper", metadata={"n_audio_state": 8})


def megatron(rank: int, world: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """One rank's share of a decoder in the names of Megatron Core."""
    torch.manual_seed(7)
    column = {
        "embedding.word_embeddings.weight": torch.randn(32, 8),
        "decoder.layers.0.self_attention.linear_qkv.weight": torch.randn(24, 8),
        "decoder.layers.0.mlp.linear_fc1.weight": torch.randn(16, 8),
        "output_layer.weight": torch.randn(32, 8),
    }
    row = {
        "decoder.layers.0.self_attention.linear_proj.weight": torch.randn(8, 8),
        "decoder.layers.0.mlp.linear_fc2.weight": torch.randn(8, 16),
    }
    whole = {
        "embedding.position_embeddings.weight": torch.randn(16, 8),
        "decoder.layers.0.self_attention.linear_qkv.layer_norm_weight": torch.randn(8),
        "decoder.final_layernorm.weight": torch.randn(8),
    }
    state = {name: value.chunk(world, 0)[rank].clone() for name, value in column.items()}
    state |= {name: value.chunk(world, 1)[rank].clone() for name, value in row.items()}
    state |= whole
    return {
        "args": arguments,
        "checkpoint_version": 3.0,
        "iteration": 20,
        "model": state | {"decoder.layers.0.self_attention.core_attention._extra_state": None},
        "opt_param_scheduler": {"max_lr": 0.001, "num_steps": 20},
        "rng_state": [{"torch_rng_state": torch.get_rng_state()}],
    }


def megatron_folder(folder: Path, world: int) -> list[dict[str, Any]]:
    """Writes all ranks and loads them back."""
    arguments = argparse.Namespace(
        num_layers=1, hidden_size=8, num_attention_heads=2, tensor_model_parallel_size=world, padded_vocab_size=32
    )
    target = folder / "model"
    loaded = []
    for rank in range(world):
        file = target / f"iter_0000020/mp_rank_{rank:02}/model_optim_rng.pt"
        file.parent.mkdir(parents=True)
        torch.save(megatron(rank, world, arguments), file)
        loaded.append(torch.load(file, weights_only=False))
    (target / "latest_checkpointed_iteration.txt").write_text("20")
    return loaded


@writes("megatron/one-rank")
def _(folder: Path) -> Oracle:
    (loaded,) = megatron_folder(folder, 1)
    facts = {"iteration": 20, "hidden_size": 8, "num_layers": 1}
    return Oracle("model", flat(loaded["model"]), metadata=facts)


@writes("megatron/tensor-parallel")
def _(folder: Path) -> Oracle:
    # Column-parallel weights are cut in rows, row-parallel ones in columns, the rest is in every file.
    parts = [rank["model"] for rank in megatron_folder(folder, 2)]
    whole = {}
    for name, value in parts[0].items():
        if value is None:
            continue
        other = parts[1][name]
        dim = 1 if name.endswith(("linear_proj.weight", "linear_fc2.weight")) else 0
        same = value.shape == other.shape and torch.equal(value, other)
        whole[name] = value if same else torch.cat([value, other], dim)
    return Oracle("model", flat(whole), metadata={"iteration": 20, "tensor_model_parallel_size": 2})


def nemo(folder: Path, mode: str) -> Oracle:
    """A tar of a YAML file and Lightning's weights."""
    torch.manual_seed(7)
    state = {"encoder.pre_encode.out.weight": torch.randn(4, 6), "decoder.bias": torch.randn(4).half()}
    weights = io.BytesIO()
    torch.save(state, weights)
    config = b"target: nemo.collections.asr.models.EncDecCTCModel\nsample_rate: 16000\nencoder:\n  d_model: 4\n"
    with tarfile.open(folder / "model.nemo", mode) as archive:
        for name, data in {"./model_config.yaml": config, "./model_weights.ckpt": weights.getvalue()}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    with tarfile.open(folder / "model.nemo") as archive:
        file = archive.extractfile("./model_weights.ckpt")
        assert file is not None
        loaded = torch.load(io.BytesIO(file.read()), weights_only=True)
    return Oracle("model.nemo", flat(loaded), metadata={"sample_rate": 16000})


@writes("nemo/tar")
def _(folder: Path) -> Oracle:
    return nemo(folder, "w")


@writes("nemo/gzip")
def _(folder: Path) -> Oracle:
    return nemo(folder, "w:gz")


@writes("folder/tokenizer")
def _(folder: Path) -> Oracle:
    # The files beside a model: a tokenizer with its chat template.
    model = bert()
    target = folder / "model"
    model.save_pretrained(target)
    made = tokenizers.Tokenizer(token_models.WordPiece(unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.WordPieceTrainer(vocab_size=60, special_tokens=["[UNK]", "[PAD]", "[MASK]"])
    made.train_from_iterator(["weigh the weights", "größe und gewicht"], trainer)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]", pad_token="[PAD]")
    fast.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    fast.save_pretrained(target)
    config = json.loads((target / "tokenizer_config.json").read_text())
    return Oracle(
        "model",
        safetensors(target / "model.safetensors"),
        family="bert",
        class_="BertForMaskedLM",
        parameters=parameters(model),
        metadata={"tokenizer_class": config["tokenizer_class"], "unk_token": "[UNK]"},
    )


@writes("folder/optimizer-beside")
def _(folder: Path) -> Oracle:
    # Weights and the optimizer in two files of one folder, by hand.
    model = module()
    chosen = torch.optim.Adam(model.parameters())
    steps(model, chosen)
    target = folder / "model"
    target.mkdir()
    torch.save(model.state_dict(), target / "model.pt")
    torch.save(chosen.state_dict(), target / "optimizer.pt")
    loaded = torch.load(target / "optimizer.pt", weights_only=True)
    return Oracle(
        "model",
        flat(torch.load(target / "model.pt", weights_only=True)),
        optimizer=optimizer("adam", loaded, [name for name, _ in model.named_parameters()]),
    )
