"""GGUF files, by gguf-py: every type it knows, splits, both byte orders, and the older versions."""

import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGUFEndian, GGUFReader, GGUFWriter

from oracle import Oracle, Tensors, tensor, writes

PLAIN = {
    Type.F32: ("F32", np.float32),
    Type.F16: ("F16", np.float16),
    Type.F64: ("F64", np.float64),
    Type.I8: ("I8", np.int8),
    Type.I16: ("I16", np.int16),
    Type.I32: ("I32", np.int32),
    Type.I64: ("I64", np.int64),
}


def weights(rows: int = 4, columns: int = 512) -> np.ndarray:
    """Numbers like those of a trained matrix."""
    return np.random.default_rng(7).normal(0, 0.05, (rows, columns)).astype(np.float32)


def blocks(kind: Type, rows: int = 4, columns: int = 512) -> np.ndarray:
    """Blocks of a quantised type: by its quantiser, else random bits under scales that are finite."""
    elements, width = gguf.GGML_QUANT_SIZES[kind]
    try:
        return gguf.quants.quantize(weights(rows, columns), kind)
    except NotImplementedError:
        count = rows * columns // elements
        data = np.random.default_rng(int(kind)).integers(0, 256, (count, width), dtype=np.uint8)
        for place in HALVES.get(kind, ()):
            data[:, place : place + 2] = np.linspace(0.01, 0.02, count).astype(np.float16).view(np.uint8).reshape(-1, 2)
        for place in FLOATS.get(kind, ()):
            data[:, place : place + 4] = np.linspace(0.01, 0.02, count).astype(np.float32).view(np.uint8).reshape(-1, 4)
        if kind is Type.IQ1_M:
            # Its scale is spread over the upper four bits of four words.
            data[:, 55] = data[:, 55] & 0x0F | 0x20
        return data.reshape(rows, columns // elements * width)


HALVES = {
    Type.Q2_K: (80, 82),
    Type.Q3_K: (108,),
    Type.Q4_K: (0, 2),
    Type.Q5_K: (0, 2),
    Type.Q6_K: (208,),
    Type.IQ2_XXS: (0,),
    Type.IQ2_XS: (0,),
    Type.IQ2_S: (0,),
    Type.IQ3_XXS: (0,),
    Type.IQ3_S: (0,),
    Type.IQ1_S: (0,),
    Type.IQ4_NL: (0,),
    Type.IQ4_XS: (0,),
    Type.Q8_1: (0, 2),
    Type.Q1_0: (0,),
}
"""Where half-precision scales lie in the blocks of types that gguf-py can not quantise to."""

FLOATS = {Type.Q8_K: (0,)}
"""The same for single precision."""


def describe(name: str, kind: Type, shape: list[int], data: np.ndarray) -> Tensors:
    """A tensor of the library's reader; `shape` has the outermost extent first."""
    if kind in PLAIN:
        little = data.astype(data.dtype.newbyteorder("<"))
        return {name: tensor(PLAIN[kind][0], shape, little.tobytes())}
    try:
        numbers = gguf.quants.dequantize(data, kind)
        assert np.isfinite(numbers).all(), kind
        plain = numbers.astype("<f4").tobytes()
    except NotImplementedError:
        plain = None
    return {name: tensor(kind.name, shape, data.tobytes(), plain)}


def read(*files: Path) -> Tensors:
    """What the library's reader finds."""
    found: Tensors = {}
    for file in files:
        for entry in GGUFReader(file).tensors:
            shape = [int(extent) for extent in reversed(entry.shape)]
            found |= describe(entry.name, entry.tensor_type, shape, np.asarray(entry.data))
    return found


def fill(writer: GGUFWriter) -> None:
    """Metadata of every kind, and a small decoder's tensors."""
    writer.add_name("Tiny llama")
    writer.add_license("apache-2.0")
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(["<s>", "</s>", "▁a", "ß", "\n"])
    writer.add_token_scores([0.0, 0.0, -1.5, -2.0, -3.0])
    writer.add_token_types([3, 3, 1, 1, 1])
    writer.add_chat_template("{{ messages[0]['content'] }}")
    writer.add_uint8("test.u8", 200)
    writer.add_int8("test.i8", -100)
    writer.add_uint16("test.u16", 60000)
    writer.add_int16("test.i16", -30000)
    writer.add_int32("test.i32", -2_000_000_000)
    writer.add_uint64("test.u64", 2**63 + 1)
    writer.add_int64("test.i64", -(2**62))
    writer.add_float64("test.f64", 0.1)
    writer.add_bool("test.bool", True)
    writer.add_array("test.bools", [True, False])
    writer.add_array("test.nested", [[1, 2], [3]])
    for name, shape in {
        "token_embd.weight": (5, 32),
        "blk.0.attn_q.weight": (32, 32),
        "blk.0.attn_norm.weight": (32,),
        "output.weight": (5, 32),
    }.items():
        values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) / 64
        writer.add_tensor(name, values.astype(np.float16) if len(shape) == 2 else values)


FACTS: dict[str, Any] = {
    "general.architecture": "llama",
    "general.name": "Tiny llama",
    "llama.context_length": 64,
    "llama.attention.head_count_kv": 2,
    "tokenizer.ggml.model": "llama",
    "tokenizer.chat_template": "{{ messages[0]['content'] }}",
    "test.u8": 200,
    "test.i16": -30000,
    "test.u64": 2**63 + 1,
    "test.bool": True,
}


def write(writer: GGUFWriter) -> None:
    """Header, metadata and tensors."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@writes("gguf/llama")
def _(folder: Path) -> Oracle:
    path = folder / "model.gguf"
    writer = GGUFWriter(path, "llama")
    fill(writer)
    write(writer)
    return Oracle("model.gguf", read(path), family="llama", metadata=FACTS)


@writes("gguf/types")
def _(folder: Path) -> Oracle:
    path = folder / "model.gguf"
    writer = GGUFWriter(path, "llama")
    for kind in Type:
        name = f"{kind.name.lower()}.weight"
        if kind in PLAIN:
            writer.add_tensor(name, (weights(3, 64) * 100).astype(PLAIN[kind][1]))
        elif kind is Type.BF16:
            writer.add_tensor(name, gguf.quants.quantize(weights(3, 64), kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, blocks(kind), raw_dtype=kind)
    write(writer)
    return Oracle("model.gguf", read(path), family="llama")


@writes("gguf/big-endian")
def _(folder: Path) -> Oracle:
    path = folder / "model.gguf"
    writer = GGUFWriter(path, "llama", endianess=GGUFEndian.BIG)
    fill(writer)
    write(writer)
    return Oracle("model.gguf", read(path), family="llama", metadata=FACTS)


@writes("gguf/split")
def _(folder: Path) -> Oracle:
    target = folder / "model"
    target.mkdir(exist_ok=True)
    writer = GGUFWriter(target / "tiny.gguf", "llama", split_max_tensors=2)
    fill(writer)
    write(writer)
    files = sorted(target.glob("*.gguf"))
    assert len(files) == 2
    return Oracle("model", read(*files), family="llama", metadata=FACTS)


@writes("gguf/alignment")
def _(folder: Path) -> Oracle:
    path = folder / "model.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_custom_alignment(128)
    fill(writer)
    write(writer)
    return Oracle("model.gguf", read(path), family="llama", metadata={"general.alignment": 128})


@writes("gguf/adapter")
def _(folder: Path) -> Oracle:
    path = folder / "adapter.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 16.0)
    writer.add_tensor("blk.0.attn_q.weight.lora_a", weights(4, 32))
    writer.add_tensor("blk.0.attn_q.weight.lora_b", weights(32, 4))
    write(writer)
    return Oracle("adapter.gguf", read(path), family="llama", metadata={"adapter.type": "lora"})


@writes("gguf/v2")
def _(folder: Path) -> Oracle:
    # Version 2 has the same bytes; only the number differs, and the reader takes both.
    path = folder / "model.gguf"
    writer = GGUFWriter(path, "llama")
    fill(writer)
    write(writer)
    data = bytearray(path.read_bytes())
    data[4:8] = (2).to_bytes(4, "little")
    path.write_bytes(data)
    return Oracle("model.gguf", read(path), family="llama", metadata=FACTS)


@writes("gguf/v1")
def _(folder: Path) -> Oracle:
    # No library writes or reads version 1 any more; counts and lengths have four bytes there. Its numbers are checked.
    values = np.arange(64, dtype=np.float32).reshape(2, 32)

    def text(value: str) -> bytes:
        return struct.pack("<I", len(value)) + value.encode()

    header = b"GGUF" + struct.pack("<III", 1, 1, 2)
    header += text("general.architecture") + struct.pack("<I", 8) + text("llama")
    header += text("llama.block_count") + struct.pack("<II", 4, 1)
    header += text("output.weight") + struct.pack("<IIIIQ", 2, 32, 2, 0, 0)
    header += bytes(-len(header) % 32)
    (folder / "model.gguf").write_bytes(header + values.tobytes())
    return Oracle("model.gguf", {"output.weight": tensor("F32", [2, 32], values.tobytes())}, family="llama")
