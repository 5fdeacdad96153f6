"""Compares GGUF files with the models of transformers that they were made from; needs torch, transformers and gguf.

Reads one JSON list a line: `["gguf", SOURCE, FILE, TYPE]` or `["back", SOURCE, FOLDER]`. Answers one JSON list of
problems a line; `["speak", SOURCE]` answers what a model says, for a program that loads the file.
"""

import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from families import PROMPT, TEXT
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoTokenizer

ARCHITECTURES = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}
SINGLE = (
    "_norm.weight", "ffn_gate_inp.weight", "ffn_gate_inp_shexp.weight", "position_embd.weight", "token_types.weight",
)  # fmt: skip
SMALLER = {"Q4_K": "Q5_0", "Q5_K": "Q8_0", "Q6_K": "Q8_0"}
LOSS = {"Q5_0": 0.07, "Q4_K": 0.11, "Q5_K": 0.06, "Q6_K": 0.03}
"""Relative error that each type may have on numbers of a normal distribution."""
STEPS = 24


def permuted(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of each head: the halves that rotate together become neighbours."""
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def expected(source: Path, arch: str) -> dict[str, torch.Tensor]:
    """What the rules make of a model, under the names that the `gguf` package has."""
    config = AutoConfig.from_pretrained(source)
    layers = config.num_hidden_layers
    names = gguf.get_tensor_name_map(ARCHITECTURES[arch], layers)
    stacks: dict[str, dict[int, torch.Tensor]] = {}
    made = {}
    for name, value in load_file(source / "model.safetensors").items():
        value = value.float()
        if name.startswith(("pooler.", "cls.")):
            continue
        if arch.startswith("gemma") and name.endswith("norm.weight"):
            value = value + 1
        if arch == "gpt2" and re.search(r"\.c_\w+\.weight$", name):
            value = value.T
        if arch == "llama" and (found := re.search(r"\.([qk])_proj\.", name)):
            heads = config.num_attention_heads if found[1] == "q" else config.num_key_value_heads
            value = permuted(value, heads)
        if found := re.search(r"(.*\.experts)\.(\d+)(\..*)", name):
            stacks.setdefault(found[1] + found[3], {})[int(found[2])] = value
            continue
        made[names.get_name(name, try_suffixes=(".weight", ".bias"))] = value
    for name, experts in stacks.items():
        name = name.replace("model.layers", "layers").replace("block_sparse_moe", "feed_forward")
        named = names.get_name(name, try_suffixes=(".weight",)) or names.get_name(f"model.{name}", (".weight",))
        made[named] = torch.stack([experts[number] for number in sorted(experts)])
    return made


def wanted_type(name: str, shape: tuple[int, ...], asked: str) -> str:
    """The type that a tensor shall have."""
    if len(shape) <= 1 or not name.endswith(".weight") or name.endswith(SINGLE):
        return "F32"
    for kind in (asked, SMALLER.get(asked, "F16")):
        if shape[-1] % gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]][0] == 0:
            return kind
    return "F16"


def tensors(reader: gguf.GGUFReader, source: Path, arch: str, asked: str) -> Iterator[str]:
    """What is wrong with the tensors."""
    wanted = expected(source, arch)
    found = {tensor.name: tensor for tensor in reader.tensors}
    extra = set(found) - set(wanted) - {"rope_freqs.weight"}
    if extra or set(wanted) - set(found):
        yield f"tensors: {sorted(extra)} are too many, {sorted(set(wanted) - set(found))} are missing"
        return
    for name, value in wanted.items():
        tensor, array = found[name], value.contiguous().numpy()
        kind = wanted_type(name, array.shape, asked)
        if tensor.tensor_type.name != kind:
            yield f"`{name}` is {tensor.tensor_type.name}, not {kind}"
        elif tuple(reversed(tensor.shape.tolist())) != array.shape:
            yield f"`{name}` has shape {tensor.shape.tolist()[::-1]}, not {array.shape}"
        elif kind in LOSS:
            back = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            error = np.linalg.norm(back - array) / np.linalg.norm(array)
            if not error < LOSS[kind]:
                yield f"`{name}` is off by {error}"
        elif gguf.quants.quantize(array, tensor.tensor_type).tobytes() != tensor.data.tobytes():
            yield f"`{name}` has other bytes than the `gguf` package makes"


def vocabulary(fields: dict[str, Any], source: Path, rows: int) -> Iterator[str]:
    """What is wrong with the tokens."""
    tokenizer = AutoTokenizer.from_pretrained(source)
    words = {number: word for word, number in tokenizer.get_vocab().items()}
    tokens, kinds = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    if not len(tokens) == len(kinds) == rows:
        yield f"{len(tokens)} tokens of {len(kinds)} kinds for {rows} rows"
    bert = fields["tokenizer.ggml.model"] == "bert"
    for number, token in enumerate(tokens):
        word = words.get(number)
        special = word in tokenizer.all_special_tokens or number in tokenizer.added_tokens_decoder
        if word is None:
            word, kind = f"[PAD{number}]", {5}
        else:
            kind = {2, 3} if special else {6} if re.fullmatch(r"<0x[0-9A-F]{2}>", word) else {1}
            if bert and not special:
                word = word[2:] if word.startswith("##") else f"▁{word}"
        if token != word or kinds[number] not in kind:
            yield f"token {number} is `{token}` of kind {kinds[number]}, not `{word}` of {kind}"
            return
    for key, word in (("bos", "bos"), ("eos", "eos"), ("unknown", "unk"), ("padding", "pad")):
        number = getattr(tokenizer, f"{word}_token_id")
        told = fields.get(f"tokenizer.ggml.{key}_token_id")
        # Classes of transformers have tokens of their own, of which the files say nothing.
        if number is not None and told != number and (told is not None or word != "unk"):
            yield f"`{key}_token_id` is {told}, not {number}"


def factors(reader: gguf.GGUFReader, source: Path) -> Iterator[str]:
    """What is wrong with the factors of rotations: the frequencies that transformers computes, divided by them."""
    found = next((tensor.data for tensor in reader.tensors if tensor.name == "rope_freqs.weight"), None)
    config = AutoConfig.from_pretrained(source)
    scaled = (getattr(config, "rope_parameters", None) or {}).get("rope_type") == "llama3"
    if scaled != (found is not None):
        yield f"`rope_freqs.weight` is {'missing' if scaled else 'too many'}"
    if scaled and found is not None:
        rotary = AutoModel.from_pretrained(source).rotary_emb
        dim = config.head_dim
        plain = 1 / config.rope_parameters["rope_theta"] ** (np.arange(0, dim, 2) / dim)
        if not np.allclose(plain / found, rotary.inv_freq.numpy(), rtol=1e-5):
            yield "the factors do not give the frequencies of transformers"


def rewritten(reader: gguf.GGUFReader, path: Path) -> Iterator[str]:
    """Whether the package's writer makes the same file of the same entries and tensors."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.gguf"
        writer = gguf.GGUFWriter(out, reader.fields["general.architecture"].contents())
        for key, field in reader.fields.items():
            if not key.startswith("GGUF.") and key != "general.architecture":
                kinds = field.types
                sub = kinds[-1] if kinds[0] == gguf.GGUFValueType.ARRAY else None
                writer.add_key_value(key, field.contents(), kinds[0], sub_type=sub)
        for tensor in reader.tensors:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        if out.read_bytes() != path.read_bytes():
            yield "the package's writer makes another file of the same entries and tensors"


def check(source: Path, path: Path, asked: str) -> Iterator[str]:
    """What is wrong with a file."""
    reader = gguf.GGUFReader(path)
    fields = {key: field.contents() for key, field in reader.fields.items()}
    arch = fields["general.architecture"]
    yield from tensors(reader, source, arch, asked)
    embedding = next(tensor for tensor in reader.tensors if tensor.name == "token_embd.weight")
    yield from vocabulary(fields, source, int(embedding.shape[1]))
    yield from factors(reader, source)
    yield from rewritten(reader, path)


def model(folder: Path) -> Any:
    """The model of a folder, in single precision."""
    kind = AutoModel if AutoConfig.from_pretrained(folder).model_type == "bert" else AutoModelForCausalLM
    return kind.from_pretrained(folder, dtype=torch.float32).eval()


def answer(loaded: Any, ids: list[int]) -> np.ndarray:
    """What a model makes of a text: logits, or states of an encoder."""
    with torch.no_grad():
        out = loaded(torch.tensor([ids]))
    return (out.logits if hasattr(out, "logits") else out.last_hidden_state)[0].numpy()


def back(source: Path, folder: Path) -> Iterator[str]:
    """What is wrong with a folder that was made of a file."""
    before, after = AutoTokenizer.from_pretrained(source), AutoTokenizer.from_pretrained(folder)
    for text in TEXT:
        one, other = before(text)["input_ids"], after(text)["input_ids"]
        if one != other:
            yield f"`{text}` has the tokens {other}, not {one}"
        if before.decode(one) != after.decode(one):
            yield f"`{text}` is spelled {after.decode(one)!r}, not {before.decode(one)!r}"
    ids = before(PROMPT)["input_ids"]
    one, other = answer(model(source), ids), answer(model(folder), ids)
    if not np.allclose(one, other, atol=2e-5):
        yield f"the answer is off by {np.abs(one - other).max()}"


def speak(source: Path) -> dict[str, Any]:
    """What a model says: its tokens of the texts, and how it goes on."""
    tokenizer = AutoTokenizer.from_pretrained(source)
    ids = tokenizer(PROMPT)["input_ids"]
    said: dict[str, Any] = {"prompt": ids, "texts": [tokenizer(text)["input_ids"] for text in TEXT], "words": TEXT}
    loaded = model(source)
    if loaded.config.model_type == "bert":
        return said | {"states": answer(loaded, ids).tolist(), "text": PROMPT}
    said["logits"] = answer(loaded, ids)[-1].tolist()
    now = list(ids)
    for _ in range(STEPS):
        now.append(int(answer(loaded, now)[-1].argmax()))
    return said | {"tokens": now[len(ids) :]}


if __name__ == "__main__":
    for line in sys.stdin:
        verb, *words = json.loads(line)
        source = Path(words[0])
        try:
            if verb == "speak":
                out: Any = speak(source)
            else:
                out = list(check(source, Path(words[1]), words[2]) if verb == "gguf" else back(source, Path(words[1])))
        except Exception as error:  # the test says what it is about
            out = [f"{type(error).__name__}: {error}"]
        print(json.dumps(out), flush=True)
