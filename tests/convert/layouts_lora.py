"""Low-rank adapters of PEFT, diffusers and kohya's scripts, with the converters of diffusers as the other opinion."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import torch
from diffusers.loaders.lora_conversion_utils import _convert_non_diffusers_lora_to_diffusers
from diffusers.utils import convert_state_dict_to_kohya
from safetensors import safe_open

import layouts_diffusion

TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "proj_in", "conv1"]


def adapted(dora: bool) -> Any:
    """A U-net with an adapter of uneven ranks and strengths."""
    config = peft.LoraConfig(
        r=4, lora_alpha=2, target_modules=TARGETS, use_dora=dora, init_lora_weights=False,
        rank_pattern={"to_k": 8}, alpha_pattern={"to_v": 3},
    )  # fmt: skip
    unet = layouts_diffusion.unet("sd1")
    torch.manual_seed(5)
    model = peft.get_peft_model(unet, config)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_" in name and "magnitude" not in name:
                value.normal_(std=0.1)
    return model


def strength(model: Any) -> torch.Tensor:
    """What the adapted U-net says about noise."""
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(1, 4, 8, 8, generator=generator)
    words = torch.randn(1, 5, 64, generator=generator)
    return model.eval()(noise, 10, words).sample


def modern(name: str) -> str:
    """A name of the first adapters of diffusers, in which processors held the matrices, in today's form."""
    if ".processor." in name:
        name = name.replace(".processor.", ".").replace("to_out_lora.", "to_out.0.lora.").replace("_lora.", ".lora.")
    return name.replace(".lora.down.", ".lora_A.").replace(".lora.up.", ".lora_B.")


def add(case: Callable[..., Any], weights: Any, same: Any) -> None:
    """Adds the adapters."""
    for dora in (False, True):

        class FromPeft:
            dora_ = dora

            @classmethod
            def write(cls, folder: Path) -> None:
                adapted(cls.dora_).save_pretrained(folder / "adapter")

            @classmethod
            def check(cls, folder: Path, outs: list[Path]) -> None:
                source = weights(folder / "adapter")
                expected = strength(peft.PeftModel.from_pretrained(layouts_diffusion.unet("sd1"), folder / "adapter"))
                # diffusers' own way to the names of kohya's scripts.
                kohya = weights(outs[0])
                plain = {f"unet.{name.removeprefix('base_model.model.')}": value for name, value in source.items()}
                theirs = convert_state_dict_to_kohya({n: v for n, v in plain.items() if "magnitude" not in n})
                theirs = {name.replace("unet_", "lora_unet_", 1) if name.startswith("unet_") else name: value
                          for name, value in theirs.items()}  # fmt: skip
                theirs = {n: v for n, v in theirs.items() if not n.endswith(".alpha")}
                same({n: v for n, v in kohya.items() if not n.endswith((".alpha", ".dora_scale"))}, theirs)
                # And its way back.
                back, alphas = _convert_non_diffusers_lora_to_diffusers(dict(kohya))
                names = {modern(name): value for name, value in back.items()}
                same({n: v for n, v in names.items() if "magnitude" not in n},
                     {n: v for n, v in plain.items() if "magnitude" not in n})  # fmt: skip
                for name, alpha in alphas.items():
                    assert alpha == (3 if "to_v" in name else 2), (name, alpha)
                # What diffusers loads.
                unet = layouts_diffusion.unet("sd1")
                file = next(outs[1].glob("*.safetensors"))
                with safe_open(file, "pt") as opened:
                    settings = json.loads(opened.metadata()["lora_adapter_metadata"])
                unet.load_lora_adapter(weights(outs[1]), prefix="unet", metadata=settings)
                assert torch.equal(strength(unet), expected)
                # Back where it began.
                same(weights(outs[2]), source)
                model = peft.PeftModel.from_pretrained(layouts_diffusion.unet("sd1"), outs[2])
                assert torch.equal(strength(model), expected)

        steps = [("kohya-lora", "safetensors"), ("diffusers-lora", "safetensors"), ("peft", "safetensors")]
        case("dora" if dora else "lora", "adapter", steps)(FromPeft)


