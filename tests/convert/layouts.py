"""Checkpoints in the names of one library, and whether another loads them after a change of names.

`layouts.py write OUT` writes every source into `OUT/NAME/`, and `OUT/cases.json` with what is to be done with it.
`layouts.py check OUT NAME CONVERTED…` loads what came out of each step with the library that has those names, and
compares state dicts and, where there is a forward pass, its results bit by bit.
"""

import glob
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parent.parent / "formats"))

import models  # noqa: E402

State = dict[str, torch.Tensor]


@dataclass
class Case:
    """A source, the namings it goes through one after the other, and what must come out."""

    source: str
    """Path of the source below the case's folder."""
    steps: list[tuple[str, str]]
    """Naming and format of each step; the next one reads what the one before wrote."""
    write: Callable[[Path], None]
    check: Callable[[Path, list[Path]], None]
    base: str | None = None
    """Base model of an adapter, below the case's folder."""


CASES: dict[str, Case] = {}


def case(name: str, source: str, steps: list[tuple[str, str]], base: str | None = None) -> Callable[[type], type]:
    """Adds a class with `write` and `check` to the cases."""

    def add(made: Any) -> Any:
        CASES[name] = Case(source, steps, made.write, made.check, base)
        return made

    return add


def weights(folder: Path) -> State:
    """All tensors of the one set of weights in a folder, or of a file."""
    files = [folder] if folder.is_file() else [Path(file) for file in sorted(glob.glob(f"{folder}/*.safetensors"))]
    if files and all(file.suffix == ".safetensors" for file in files):
        return {name: value for file in files for name, value in load_file(file).items()}
    files = files or [Path(file) for end in ("pt", "bin", "pth") for file in glob.glob(f"{folder}/*.{end}")]
    return torch.load(files[0], weights_only=True)


def same(found: State, expected: State) -> None:
    """The same names, shapes and elements."""
    assert set(found) == set(expected), {
        "missing": sorted(set(expected) - set(found))[:8],
        "extra": sorted(set(found) - set(expected))[:8],
    }
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, (name, found[name].dtype, value.dtype)
        assert found[name].shape == value.shape, (name, found[name].shape, value.shape)
        assert torch.equal(found[name], value), name


def image(size: int, channels: int = 3) -> torch.Tensor:
    """A picture of noise."""
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(3))


def transformers_folder(name: str, folder: Path) -> Any:
    """The model that transformers loads from a folder, which must lack nothing."""
    import transformers

    model, report = getattr(transformers, name).from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"], report["missing_keys"]
    assert not report["unexpected_keys"], report["unexpected_keys"]
    assert not report["mismatched_keys"], report["mismatched_keys"]
    return model.eval()


def timm_folder(folder: Path) -> Any:
    """The model that timm loads from a folder."""
    import timm

    config = json.loads((folder / "config.json").read_text())
    arguments = {"num_classes": config["num_classes"]} | config.get("model_args", {})
    model = timm.create_model(config["architecture"], **arguments)
    model.load_state_dict(weights(folder))
    return model.eval()


def write_timm(folder: Path, name: str, **arguments: Any) -> None:
    import timm

    model = models.seeded(timm.create_model, name, num_classes=5, **arguments)
    for buffer, value in model.named_buffers():
        if buffer.endswith("running_mean"):
            value.normal_()
    timm.models.save_for_hf(model.eval(), folder / "timm", model_args=arguments or None)


class TimmResnet:
    """From timm to transformers and back."""

    arguments: dict[str, Any] = {"channels": (8, 8, 16, 16)}
    name = "resnet18"

    @classmethod
    def write(cls, folder: Path) -> None:
        write_timm(folder, cls.name, **cls.arguments)

    @classmethod
    def check(cls, folder: Path, outs: list[Path]) -> None:
        made, back = timm_folder(folder / "timm"), timm_folder(outs[1])
        x = image(64)
        expected = made(x)
        there = transformers_folder("ResNetForImageClassification", outs[0])
        assert torch.equal(there(x).logits, expected)
        assert torch.equal(back(x), expected)
        same(weights(outs[1]), weights(folder / "timm"))


class TimmBottleneck(TimmResnet):
    name = "resnet50"
    arguments = {"channels": (4, 8, 8, 16), "layers": (1, 2, 1, 1)}


TO_HF_AND_TIMM = [("hf", "safetensors"), ("timm", "safetensors")]
case("timm-resnet", "timm", TO_HF_AND_TIMM)(TimmResnet)
case("timm-bottleneck", "timm", TO_HF_AND_TIMM)(TimmBottleneck)


@case("torchvision-resnet", "resnet.pth", [("hf", "safetensors"), ("torchvision", "torch")])
class Torchvision:
    """A full ResNet-18 of torchvision as its state dict."""

    @staticmethod
    def write(folder: Path) -> None:
        import torchvision

        torch.save(models.seeded(torchvision.models.resnet18, num_classes=7).state_dict(), folder / "resnet.pth")

    @staticmethod
    def check(folder: Path, outs: list[Path]) -> None:
        import torchvision

        state = torch.load(folder / "resnet.pth", weights_only=True)
        model = torchvision.models.resnet18(num_classes=7)
        model.load_state_dict(state)
        x = image(64)
        there = transformers_folder("ResNetForImageClassification", outs[0])
        assert torch.equal(there(x).logits, model.eval()(x))
        same(weights(outs[1]), state)


@case("timm-vit", "timm", TO_HF_AND_TIMM)
class TimmVit:
    """A narrow vision transformer with two heads of 32, which only its configuration tells."""

    arguments = {"embed_dim": 64, "depth": 2, "num_heads": 2, "img_size": 32, "patch_size": 8}

    @classmethod
    def write(cls, folder: Path) -> None:
        write_timm(folder, "vit_base_patch16_224", **cls.arguments)

    @staticmethod
    def check(folder: Path, outs: list[Path]) -> None:
        made, back = timm_folder(folder / "timm"), timm_folder(outs[1])
        x = image(32)
        expected = made(x)
        there = transformers_folder("ViTForImageClassification", outs[0])
        # One product of three matrices, or three products: the order of the sums is another.
        assert torch.allclose(there(x).logits, expected, atol=1e-5, rtol=1e-5)
        assert torch.equal(back(x), expected)
        same(weights(outs[1]), weights(folder / "timm"))


def openai_whisper() -> Any:
    """The model's module of openai-whisper, if it is installed."""
    try:
        import whisper.model
    except ImportError:
        return None
    return whisper.model


@case("whisper", "hf", [("openai-whisper", "torch"), ("hf", "safetensors")])
class Whisper:
    """From transformers to openai-whisper and back."""

    @staticmethod
    def write(folder: Path) -> None:
        import transformers

        config = transformers.WhisperConfig(
            vocab_size=96, d_model=64, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
            decoder_attention_heads=4, encoder_ffn_dim=256, decoder_ffn_dim=256, num_mel_bins=8,
            max_source_positions=20, max_target_positions=16, pad_token_id=0, bos_token_id=0, eos_token_id=0,
            decoder_start_token_id=1, suppress_tokens=None, begin_suppress_tokens=None,
        )  # fmt: skip
        models.seeded(transformers.WhisperForConditionalGeneration, config).save_pretrained(folder / "hf")

    @staticmethod
    def check(folder: Path, outs: list[Path]) -> None:
        loaded = weights(outs[0])
        assert set(loaded) == {"dims", "model_state_dict"}
        assert loaded["dims"] == {
            "n_mels": 8, "n_audio_ctx": 20, "n_audio_state": 64, "n_audio_head": 4, "n_audio_layer": 2, "n_vocab": 96,
            "n_text_ctx": 16, "n_text_state": 64, "n_text_head": 4, "n_text_layer": 2,
        }  # fmt: skip
        same(weights(outs[1]), weights(folder / "hf"))
        there = transformers_folder("WhisperForConditionalGeneration", outs[1])
        if module := openai_whisper():
            model = module.Whisper(module.ModelDimensions(**loaded["dims"]))
            model.load_state_dict(loaded["model_state_dict"])
            mels, tokens = torch.randn(1, 8, 40), torch.tensor([[1, 5, 9]])
            one = model.eval()(mels, tokens)
            other = there(input_features=mels, decoder_input_ids=tokens).logits
            assert torch.allclose(one, other, atol=1e-4), (one - other).abs().max()


def experts(kind: str) -> Any:
    import transformers

    sizes = dict(
        vocab_size=96, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=32,
    )  # fmt: skip
    if kind == "Mixtral":
        config = transformers.MixtralConfig(**sizes, num_local_experts=3)
    else:
        extra = {"num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
        if kind == "Qwen2Moe":
            extra["shared_expert_intermediate_size"] = 12
        config = getattr(transformers, f"{kind}Config")(**sizes, **extra)
    return models.seeded(getattr(transformers, f"{kind}ForCausalLM"), config)


def add_experts(kind: str) -> None:
    """Stacked experts of `state_dict()` become the split ones of `save_pretrained`, and the other way round."""

    class Experts:
        @staticmethod
        def write(folder: Path) -> None:
            model = experts(kind)
            model.save_pretrained(folder / "hf")
            torch.save(model.state_dict(), folder / "memory.pt")

        @staticmethod
        def check(folder: Path, outs: list[Path]) -> None:
            same(weights(outs[0]), weights(folder / "hf"))
            same(weights(outs[1]), torch.load(folder / "memory.pt", weights_only=True))

    case(f"experts-{kind.lower()}", "memory.pt", [("hf", "safetensors"), ("hf-memory", "torch")])(Experts)


for kind in ("Mixtral", "Qwen2Moe", "Qwen3Moe"):
    add_experts(kind)


@case("vit-memory", "memory.pt", [("hf", "safetensors"), ("hf-memory", "torch")])
class VitMemory:
    """transformers 5 renames the blocks of a vision transformer in memory only."""

    @staticmethod
    def write(folder: Path) -> None:
        import transformers

        config = transformers.ViTConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=32
        )
        model = models.seeded(transformers.ViTForImageClassification, config)
        model.save_pretrained(folder / "hf")
        torch.save(model.state_dict(), folder / "memory.pt")

    @staticmethod
    def check(folder: Path, outs: list[Path]) -> None:
        same(weights(outs[0]), weights(folder / "hf"))
        same(weights(outs[1]), torch.load(folder / "memory.pt", weights_only=True))


def wrapped(state: State, names: Callable[[str], str]) -> State:
    return {names(name): value for name, value in state.items()}


@case("wrapped", "wrapped.pt", [("hf", "safetensors")])
class Wrapped:
    """Compiled, in parallel, and in a dictionary."""

    @staticmethod
    def write(folder: Path) -> None:
        model = models.bert()
        model.save_pretrained(folder / "hf")
        state = wrapped(load_file(folder / "hf/model.safetensors"), lambda name: f"module._orig_mod.{name}")
        torch.save({"state_dict": state, "epoch": 3}, folder / "wrapped.pt")

    @staticmethod
    def check(folder: Path, outs: list[Path]) -> None:
        same(weights(outs[0]), weights(folder / "hf"))


import checks_trees  # noqa: E402
import layouts_diffusion  # noqa: E402
import layouts_lora  # noqa: E402

layouts_diffusion.add(case, weights, same)
layouts_lora.add(case, weights, same)


def main() -> None:
    """Writes the sources, or checks what became of one."""
    match sys.argv[1:]:
        case ["write", out, *only]:
            plan = {}
            for name, made in CASES.items():
                if only and name not in only:
                    continue
                folder = Path(out) / name
                folder.mkdir(parents=True)
                made.write(folder)
                plan[name] = {"source": made.source, "steps": made.steps, "base": made.base}
            (Path(out) / "cases.json").write_text(json.dumps(plan))
        case ["check", out, name, *found]:
            with torch.no_grad():
                if check := checks_trees.CHECKS.get(name):
                    check(Path(out) / name, [Path(path) for path in found], weights)
                    return
                CASES[name].check(Path(out) / name, [Path(path) for path in found])
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
