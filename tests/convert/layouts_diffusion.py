"""Stable Diffusion 1, 2 and XL between one file and a folder, with the converters of diffusers as the other opinion."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers.loaders import single_file_utils as single

import models

STEPS = [("stable-diffusion", "safetensors"), ("diffusers", "safetensors")]


def unet(version: str) -> Any:
    """A narrow U-net with all levels and layers of the published ones, two in XL."""
    sizes: dict[str, Any] = {"sample_size": 8, "layers_per_block": 2, "cross_attention_dim": 64, "norm_num_groups": 32}
    if version == "sdxl":
        return models.seeded(
            diffusers.UNet2DConditionModel,
            **sizes | {"cross_attention_dim": 64 + 128},
            block_out_channels=(32, 64, 128),
            attention_head_dim=[1, 1, 2],
            transformer_layers_per_block=[1, 2, 3],
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 48,
        )
    return models.seeded(
        diffusers.UNet2DConditionModel,
        **sizes,
        block_out_channels=(32, 64, 64, 128),
        attention_head_dim=[1, 1, 1, 2] if version == "sd2" else 8,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
        use_linear_projection=version == "sd2",
    )


def vae() -> Any:
    """A narrow autoencoder with four levels."""
    return models.seeded(
        diffusers.AutoencoderKL,
        block_out_channels=(32, 32, 64, 64),
        layers_per_block=2,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=32,
    )


def text(kind: Any, width: int, projection: int, activation: str) -> Any:
    """A narrow CLIP of three layers."""
    config = transformers.CLIPTextConfig(
        vocab_size=60, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=3, num_attention_heads=width // 64,
        projection_dim=projection, hidden_act=activation, bos_token_id=0, eos_token_id=2, pad_token_id=1,
    )  # fmt: skip
    return models.seeded(kind, config)


def pipeline(folder: Path, version: str) -> Any:
    """A pipeline of narrow parts."""
    words = ["<|startoftext|>", "<|endoftext|>", "a</w>", "b</w>", "a", "b", "ab"]
    (folder / "vocab.json").write_text(json.dumps({word: place for place, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\na b\n")
    tokenizer = transformers.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)
    parts = {"unet": unet(version), "vae": vae(), "tokenizer": tokenizer, "scheduler": diffusers.DDIMScheduler()}
    if version == "sdxl":
        return diffusers.StableDiffusionXLPipeline(
            **parts,
            text_encoder=text(transformers.CLIPTextModel, 64, 64, "quick_gelu"),
            text_encoder_2=text(transformers.CLIPTextModelWithProjection, 128, 48, "gelu"),
            tokenizer_2=tokenizer,
        )
    return diffusers.StableDiffusionPipeline(
        **parts,
        text_encoder=text(transformers.CLIPTextModel, 64, 64, "gelu" if version == "sd2" else "quick_gelu"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def complete(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A text encoder's names with the part that transformers 5 leaves out."""
    whole = any(name.startswith("text_model.") for name in state)
    return state if whole else {f"text_model.{name}": value for name, value in state.items()}


def opinion(version: str, file: dict[str, torch.Tensor], folder: Path, same: Any) -> None:
    """What diffusers itself makes of the single file, against the folder that it was made from."""
    loaded = diffusers.DiffusionPipeline.from_pretrained(folder)
    unet_state = single.convert_ldm_unet_checkpoint(dict(file), dict(loaded.unet.config))
    same(unet_state, loaded.unet.state_dict())
    vae_state = single.convert_ldm_vae_checkpoint(dict(file), dict(loaded.vae.config))
    same(vae_state, loaded.vae.state_dict())
    expected = complete(loaded.text_encoder.state_dict())
    if version == "sd2":
        found = single.convert_open_clip_checkpoint(loaded.text_encoder, dict(file), "cond_stage_model.model.")
    else:
        found = single.convert_ldm_clip_checkpoint(dict(file))
    same(found, expected)
    if version == "sdxl":
        # diffusers takes the rows of query, key and value by the width of the projection, which is that of the
        # published encoder; here it is given the width.
        widened = dict(file)
        projection = widened.pop("conditioner.embedders.1.model.text_projection")
        second = single.convert_open_clip_checkpoint(loaded.text_encoder_2, widened, "conditioner.embedders.1.model.")
        second["text_projection.weight"] = projection.T.contiguous()
        same(second, complete(loaded.text_encoder_2.state_dict()))


def sample(version: str, folder: Path) -> torch.Tensor:
    """A picture in two steps, as numbers."""
    kind = diffusers.StableDiffusionXLPipeline if version == "sdxl" else diffusers.StableDiffusionPipeline
    made = kind.from_pretrained(folder)
    made.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(1)
    return torch.from_numpy(made("a b", height=64, width=64, num_inference_steps=2, generator=generator, output_type="np").images)


def add(case: Callable[..., Any], weights: Any, same: Any) -> None:
    """Adds the three generations."""
    for version in ("sd1", "sd2", "sdxl"):

        class Diffusion:
            version_ = version

            @classmethod
            def write(cls, folder: Path) -> None:
                pipeline(folder, cls.version_).save_pretrained(folder / "pipeline")

            @classmethod
            def check(cls, folder: Path, outs: list[Path]) -> None:
                opinion(cls.version_, weights(outs[0]), folder / "pipeline", same)
                parts = ["unet", "vae", "text_encoder"] + ["text_encoder_2"] * (cls.version_ == "sdxl")
                for part in parts:
                    found, expected = weights(outs[1] / part), weights(folder / "pipeline" / part)
                    same(found, complete(expected) if part.startswith("text") else expected)
                # A tokenizer is not in the weights.
                for tokenizer in (folder / "pipeline").glob("tokenizer*"):
                    (outs[1] / tokenizer.name).mkdir(exist_ok=True)
                    for file in tokenizer.iterdir():
                        (outs[1] / tokenizer.name / file.name).write_bytes(file.read_bytes())
                assert torch.equal(sample(cls.version_, outs[1]), sample(cls.version_, folder / "pipeline"))

        case(version, "pipeline", STEPS)(Diffusion)
