"""Stable Diffusion: the pipeline's folder, and one file with the names of the first release.

In a pipeline a tensor is called by its component's folder and its own name: `unet.conv_in.weight`.
"""

import json
import logging
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from safetensors.torch import save_file

from models import seeded
from oracle import Oracle, writes
from torch_oracle import flat, parameters
from writers.hf import safetensors

logging.getLogger("diffusers").setLevel(logging.ERROR)
diffusers.utils.logging.disable_progress_bar()


def unet() -> Any:
    """A narrow U-net with attention."""
    return seeded(
        diffusers.UNet2DConditionModel,
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        cross_attention_dim=16,
        attention_head_dim=4,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )


def vae() -> Any:
    """A narrow autoencoder."""
    return seeded(
        diffusers.AutoencoderKL,
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
    )


def text_encoder() -> Any:
    """A narrow CLIP."""
    config = transformers.CLIPTextConfig(
        vocab_size=60, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2
    )
    return seeded(transformers.CLIPTextModel, config)


def pipeline(folder: Path) -> diffusers.StableDiffusionPipeline:
    """All parts, with a vocabulary of seven words."""
    words = ["<|startoftext|>", "<|endoftext|>", "a</w>", "b</w>", "a", "b", "ab"]
    (folder / "vocab.json").write_text(json.dumps({word: place for place, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\na b\n")
    tokenizer = transformers.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()
    return diffusers.StableDiffusionPipeline(
        unet=unet(),
        vae=vae(),
        text_encoder=text_encoder(),
        tokenizer=tokenizer,
        scheduler=diffusers.DDPMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def described(folder: Path, made: diffusers.StableDiffusionPipeline) -> Oracle:
    """The parts' files, as the library loads them."""
    loaded = diffusers.StableDiffusionPipeline.from_pretrained(folder / "model", safety_checker=None)
    parts = {"text_encoder": loaded.text_encoder, "unet": loaded.unet, "vae": loaded.vae}
    found = {}
    for part in parts:
        files = sorted((folder / "model" / part).glob("*.safetensors"))
        found |= {f"{part}.{name}": value for name, value in safetensors(*files).items()}
    return Oracle(
        "model",
        found,
        family="stable-diffusion",
        class_=type(made).__name__,
        parameters=sum(parameters(part) for part in parts.values()),
        metadata={"_class_name": "StableDiffusionPipeline", "_diffusers_version": diffusers.__version__},
    )


@writes("diffusers/pipeline")
def _(folder: Path) -> Oracle:
    made = pipeline(folder)
    made.save_pretrained(folder / "model")
    return described(folder, made)


@writes("diffusers/sharded")
def _(folder: Path) -> Oracle:
    made = pipeline(folder)
    made.save_pretrained(folder / "model", max_shard_size="60KB")
    assert len(list((folder / "model/unet").glob("*.safetensors"))) > 1
    return described(folder, made)


@writes("diffusers/unet")
def _(folder: Path) -> Oracle:
    made = unet()
    made.save_pretrained(folder / "model")
    file = folder / "model/diffusion_pytorch_model.safetensors"
    return Oracle(
        "model",
        safetensors(file),
        family="stable-diffusion",
        class_="UNet2DConditionModel",
        parameters=parameters(made),
        metadata={"cross_attention_dim": 16},
    )


def single() -> dict[str, torch.Tensor]:
    """A few layers of every part under the names of the first release, with its schedule and its moving averages."""
    torch.manual_seed(7)
    shapes = {
        "betas": (1000,),
        "model.diffusion_model.time_embed.0.weight": (32, 8),
        "model.diffusion_model.input_blocks.0.0.weight": (8, 4, 3, 3),
        "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (8, 16),
        "model.diffusion_model.middle_block.0.in_layers.0.weight": (16,),
        "model.diffusion_model.out.2.weight": (4, 8, 3, 3),
        "first_stage_model.encoder.conv_in.weight": (8, 3, 3, 3),
        "first_stage_model.decoder.conv_out.bias": (3,),
        "first_stage_model.quant_conv.weight": (8, 8, 1, 1),
        "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight": (60, 16),
        "cond_stage_model.transformer.text_model.final_layer_norm.weight": (16,),
        "model_ema.diffusion_modelout2weight": (4, 8, 3, 3),
    }
    values = {name: torch.randn(shape).half() for name, shape in shapes.items()}
    return values | {"model_ema.num_updates": torch.tensor(7, dtype=torch.int32)}


@writes("stable-diffusion/safetensors")
def _(folder: Path) -> Oracle:
    save_file(single(), folder / "model.safetensors", metadata={"modelspec.architecture": "stable-diffusion-v1"})
    return Oracle(
        "model.safetensors",
        safetensors(folder / "model.safetensors"),
        family="stable-diffusion",
        metadata={"modelspec.architecture": "stable-diffusion-v1"},
    )


@writes("stable-diffusion/ckpt")
def _(folder: Path) -> Oracle:
    # Lightning's keys around it, with a callback that nobody can import.
    value = {
        "epoch": 6,
        "global_step": 470000,
        "pytorch-lightning_version": "1.4.2",
        "state_dict": single(),
        "callbacks": {"checkpoint": {"best": torch.tensor(0.1)}},
        "lr_schedulers": [],
    }
    torch.save(value, folder / "model.ckpt")
    loaded = torch.load(folder / "model.ckpt", weights_only=True)
    return Oracle(
        "model.ckpt",
        flat(loaded["state_dict"]),
        family="stable-diffusion",
        metadata={"epoch": 6, "global_step": 470000, "pytorch-lightning_version": "1.4.2"},
    )


@writes("stable-diffusion/kohya-lora")
def _(folder: Path) -> Oracle:
    name = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    torch.manual_seed(7)
    values = {
        f"{name}.lora_down.weight": torch.randn(4, 16).half(),
        f"{name}.lora_up.weight": torch.randn(16, 4).half(),
        f"{name}.alpha": torch.tensor(2.0).half(),
    }
    facts = {"ss_network_dim": "4", "ss_network_alpha": "2.0", "ss_base_model_version": "sd_v1"}
    save_file(values, folder / "lora.safetensors", metadata=facts)
    return Oracle("lora.safetensors", safetensors(folder / "lora.safetensors"), metadata=facts)
