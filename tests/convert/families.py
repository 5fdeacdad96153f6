"""Tiny language models with their tokenizers, as folders of transformers: one function a family."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

TEXT = [
    "A team cannot see what a fine-tune changed, and trusts conversions that nobody can check.",
    "Weights are numbers; names are promises. The reader describes, and never loads 3 or 33 or 333 of them.",
    "def forward(self, x):\n    return self.weight @ x + self.bias\n\n\tif x is None:\n        raise ValueError",
    "Größe, naïve café, Ελλάδα, Москва, 東京の天気, العربية, 🦙🚀 — it's what they've said, isn't it?",
    "the the the weights of the model of the weights and the bias of the layer of the norm",
]
"""What tokenizers learn from, and what they are compared on."""

PROMPT = "the weights of the model"
"""What models continue."""

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
CHAT = "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}{% endfor %}"


def byte_level(specials: list[str], regex: str | None, size: int = 400, **settings: Any) -> Tokenizer:
    """Byte-level BPE; without a regex that of GPT-2."""
    tokenizer = Tokenizer(models.BPE())
    if regex is None:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        split = pre_tokenizers.Split(Regex(regex), behavior="isolated")
        last = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, last])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TEXT, trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    )
    for name, value in settings.items():
        setattr(tokenizer.model, name, value)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(special, special=True, normalized=False) for special in specials])
    return tokenizer


def sentencepiece_bpe(specials: list[str], size: int = 480, prepend: bool = True) -> Tokenizer:
    """BPE with byte fallback, as SentencePiece's models become in tokenizers."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always" if prepend else "never")
    trained.train_from_iterator(
        TEXT, trainers.BpeTrainer(vocab_size=size - 256 - len(specials), show_progress=False)
    )
    learned = sorted(trained.get_vocab().items(), key=lambda item: item[1])
    pieces = specials + [f"<0x{byte:02X}>" for byte in range(256)] + [piece for piece, _ in learned]
    merges = [tuple(pair) for pair in _merges(trained)]
    vocab = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Tokenizer(
        models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    steps: list[Any] = [normalizers.Prepend("▁")] if prepend else []
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "▁")])
    strip = [decoders.Strip(" ", 1, 0)] if prepend else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    tokenizer.add_special_tokens([AddedToken(special, special=True, normalized=False) for special in specials])
    return tokenizer


def _merges(tokenizer: Tokenizer) -> list[Any]:
    import json

    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]


def begin_with(tokenizer: Tokenizer, token: str) -> None:
    """Lets every text begin with a special token."""
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{token} $A",
        pair=f"{token} $A {token}:1 $B:1",
        special_tokens=[(token, tokenizer.token_to_id(token))],
    )


def word_piece() -> Tokenizer:
    """The tokenizer of BERT."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(
        TEXT, trainers.WordPieceTrainer(vocab_size=300, special_tokens=specials, show_progress=False)
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def seeded(make: Any, config: Any) -> Any:
    """A model with weights of some size, no two alike, so that its likeliest token is clearly the likeliest."""
    torch.manual_seed(7)
    model = make(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.08)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def save(folder: Path, model: Any, tokenizer: Tokenizer, **specials: Any) -> None:
    """Writes model and tokenizer."""
    model.generation_config = transformers.GenerationConfig(
        bos_token_id=model.config.bos_token_id, eos_token_id=model.config.eos_token_id
    )
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **specials).save_pretrained(folder)


def sizes(tokenizer: Tokenizer, width: int, padding: int = 0) -> dict[str, Any]:
    """What most configurations share; `padding` rows of the embedding belong to no token."""
    return {
        "vocab_size": tokenizer.get_vocab_size() + padding,
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
    }


SPM = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
SPM_IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": None}


def llama(folder: Path, width: int = 64) -> None:
    """Llama 2: its own head, SentencePiece."""
    tokenizer = sentencepiece_bpe(["<unk>", "<s>", "</s>"])
    begin_with(tokenizer, "<s>")
    config = transformers.LlamaConfig(**sizes(tokenizer, width), **SPM_IDS, rope_theta=10000.0, rms_norm_eps=1e-5)
    save(folder, seeded(transformers.LlamaForCausalLM, config), tokenizer, **SPM)


def llama3(folder: Path, width: int = 64) -> None:
    """Llama 3: tied head, biases, scaled rotation, byte-level BPE, rows of the embedding without a token."""
    tokenizer = byte_level(["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"], LLAMA3, ignore_merges=True)
    begin_with(tokenizer, "<|begin_of_text|>")
    scaling = {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    config = transformers.LlamaConfig(
        **sizes(tokenizer, width, padding=5),
        rope_parameters=scaling,
        tie_word_embeddings=True,
        attention_bias=True,
        bos_token_id=tokenizer.token_to_id("<|begin_of_text|>"),
        eos_token_id=[tokenizer.token_to_id("<|end_of_text|>"), tokenizer.token_to_id("<|eot_id|>")],
    )
    model = seeded(transformers.LlamaForCausalLM, config).to(torch.bfloat16)
    save(folder, model, tokenizer, bos_token="<|begin_of_text|>", eos_token="<|end_of_text|>", chat_template=CHAT)


def mistral(folder: Path, width: int = 64) -> None:
    """Mistral: Llama with a head size of its own."""
    tokenizer = sentencepiece_bpe(["<unk>", "<s>", "</s>"])
    begin_with(tokenizer, "<s>")
    config = transformers.MistralConfig(**sizes(tokenizer, width), **SPM_IDS, head_dim=width // 2, sliding_window=None)
    save(folder, seeded(transformers.MistralForCausalLM, config), tokenizer, **SPM)


def mixtral(folder: Path, width: int = 64) -> None:
    """Mixtral: four experts."""
    tokenizer = sentencepiece_bpe(["<unk>", "<s>", "</s>"])
    begin_with(tokenizer, "<s>")
    config = transformers.MixtralConfig(
        **sizes(tokenizer, width), **SPM_IDS, num_local_experts=4, num_experts_per_tok=2
    )
    save(folder, seeded(transformers.MixtralForCausalLM, config), tokenizer, **SPM)


def _qwen(size: int = 400) -> Tokenizer:
    tokenizer = byte_level(["<|endoftext|>", "<|im_start|>", "<|im_end|>"], QWEN2, size)
    tokenizer.normalizer = normalizers.NFC()
    return tokenizer


QWEN = {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}


def _ids(tokenizer: Tokenizer) -> dict[str, Any]:
    end = tokenizer.token_to_id("<|endoftext|>")
    return {"bos_token_id": None, "eos_token_id": end, "pad_token_id": None}


def qwen2(folder: Path, width: int = 64) -> None:
    """Qwen 2: biases of queries, keys and values."""
    tokenizer = _qwen()
    config = transformers.Qwen2Config(**sizes(tokenizer, width), **_ids(tokenizer), tie_word_embeddings=True)
    save(folder, seeded(transformers.Qwen2ForCausalLM, config), tokenizer, **QWEN)


def qwen3(folder: Path, width: int = 64) -> None:
    """Qwen 3: norms of queries and keys."""
    tokenizer = _qwen()
    config = transformers.Qwen3Config(
        **sizes(tokenizer, width, padding=3), **_ids(tokenizer), head_dim=width // 2, tie_word_embeddings=False
    )
    save(folder, seeded(transformers.Qwen3ForCausalLM, config), tokenizer, **QWEN)


def qwen2_moe(folder: Path, width: int = 64) -> None:
    """Qwen 2 with experts, one of them shared."""
    tokenizer = _qwen()
    config = transformers.Qwen2MoeConfig(
        **sizes(tokenizer, width),
        **_ids(tokenizer),
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=width,
        shared_expert_intermediate_size=2 * width,
    )
    save(folder, seeded(transformers.Qwen2MoeForCausalLM, config), tokenizer, **QWEN)


def qwen3_moe(folder: Path, width: int = 64) -> None:
    """Qwen 3 with experts."""
    tokenizer = _qwen()
    config = transformers.Qwen3MoeConfig(
        **sizes(tokenizer, width),
        **_ids(tokenizer),
        head_dim=width // 2,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=width,
        norm_topk_prob=True,
    )
    save(folder, seeded(transformers.Qwen3MoeForCausalLM, config), tokenizer, **QWEN)


GEMMA = {"bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>"}


def _gemma() -> Tokenizer:
    tokenizer = sentencepiece_bpe(["<pad>", "<eos>", "<bos>", "<unk>"], prepend=False)
    begin_with(tokenizer, "<bos>")
    return tokenizer


def gemma(folder: Path, width: int = 64) -> None:
    """Gemma: norms around zero, tied head."""
    tokenizer = _gemma()
    config = transformers.GemmaConfig(**sizes(tokenizer, width), head_dim=width // 2)
    save(folder, seeded(transformers.GemmaForCausalLM, config), tokenizer, **GEMMA)


def gemma2(folder: Path, width: int = 64) -> None:
    """Gemma 2: four norms a layer, caps, windows."""
    tokenizer = _gemma()
    config = transformers.Gemma2Config(
        **sizes(tokenizer, width), head_dim=width // 2, query_pre_attn_scalar=width // 2, sliding_window=64
    )
    save(folder, seeded(transformers.Gemma2ForCausalLM, config), tokenizer, **GEMMA)


def gemma3(folder: Path, width: int = 64) -> None:
    """Gemma 3, text only: norms of queries and keys, two rotations."""
    tokenizer = _gemma()
    config = transformers.Gemma3TextConfig(
        **sizes(tokenizer, width), head_dim=width // 2, query_pre_attn_scalar=width // 2, sliding_window=64
    )
    save(folder, seeded(transformers.Gemma3ForCausalLM, config), tokenizer, **GEMMA)


def gpt2(folder: Path, width: int = 64) -> None:
    """GPT-2: transposed linear layers."""
    tokenizer = byte_level(["<|endoftext|>"], None)
    end = tokenizer.token_to_id("<|endoftext|>")
    config = transformers.GPT2Config(
        vocab_size=tokenizer.get_vocab_size(),
        n_embd=width,
        n_layer=2,
        n_head=4,
        n_positions=256,
        bos_token_id=end,
        eos_token_id=end,
    )
    model = seeded(transformers.GPT2LMHeadModel, config)
    save(folder, model, tokenizer, bos_token="<|endoftext|>", eos_token="<|endoftext|>")


def bert(folder: Path, width: int = 64) -> None:
    """BERT: an encoder with a pooler."""
    tokenizer = word_piece()
    settings = sizes(tokenizer, width)
    del settings["num_key_value_heads"]
    model = seeded(transformers.BertModel, transformers.BertConfig(**settings))
    named = ("unk", "sep", "pad", "cls", "mask")
    save(folder, model, tokenizer, **{f"{name}_token": f"[{name.upper()}]" for name in named})


def phi3(folder: Path, width: int = 64) -> None:
    """Phi 3: queries, keys and values in one, gate and up in one."""
    tokenizer = sentencepiece_bpe(["<unk>", "<s>", "</s>", "<|endoftext|>"])
    ids = SPM_IDS | {"eos_token_id": 3}
    config = transformers.Phi3Config(**sizes(tokenizer, width), **ids, sliding_window=None)
    save(folder, seeded(transformers.Phi3ForCausalLM, config), tokenizer, **SPM | {"eos_token": "<|endoftext|>"})


FAMILIES: dict[str, Callable[..., None]] = {
    make.__name__: make
    for make in (
        llama, llama3, mistral, mixtral, qwen2, qwen3, qwen2_moe, qwen3_moe, gemma, gemma2, gemma3, gpt2, bert, phi3,
    )
}  # fmt: skip

if __name__ == "__main__":
    for name, make in FAMILIES.items():
        make(Path(sys.argv[1]) / name, *map(int, sys.argv[2:]))
