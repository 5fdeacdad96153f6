"""Writes `gguf_quantised.txt`: blocks of pseudo-random numbers, as SHA-256 of the blocks.

Run with gguf 0.19.0 and numpy 2.4.6, and the path of the `libggml-base.so` that llama-cpp-python 0.3.36 builds. The
former quantises the plain types, the latter those with scales of scales.
"""

import ctypes
import hashlib
import sys
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

COUNT = 65536
MASK = 2**64 - 1
PLAIN = (Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0)
SCALED = (Type.Q4_K, Type.Q5_K, Type.Q6_K)


def random_words(seed: int, count: int) -> np.ndarray:
    """SplitMix64."""
    out = []
    for _ in range(count):
        seed = (seed + 0x9E3779B97F4A7C15) & MASK
        word = ((seed ^ seed >> 30) * 0xBF58476D1CE4E5B9) & MASK
        word = ((word ^ word >> 27) * 0x94D049BB133111EB) & MASK
        out.append(word ^ word >> 31)
    return np.array(out, np.uint64)


def sources() -> dict[str, np.ndarray]:
    words = random_words(7, COUNT)
    parts = words.view(np.int16).reshape(COUNT, 4)
    # About normal, exactly representable sums; then the same with another power of two for each group of 16.
    bell = parts.astype(np.int32).sum(axis=1).astype(np.float32) / np.float32(65536)
    powers = (parts[::16, 0].astype(np.int32) & 15) - 12
    levels = (words % 256).astype(np.int32) - 128
    ties = (levels.astype(np.float32) + np.float32(0.5)) / np.float32(2)
    # All but one in eight are zero, and whole groups are.
    sparse = np.where((words >> np.uint64(20)) % 8 == 0, bell, np.float32(0))
    sparse = np.where(np.repeat(words[::64] % 3 == 0, 64), np.float32(0), sparse)
    bits = words.astype(np.uint32)
    return {
        "bell": bell,
        "positive": np.abs(bell),
        "grouped": np.ldexp(bell, np.repeat(powers, 16)).astype(np.float32),
        "levels": levels.astype(np.float32),
        "ties": ties,
        "sparse": sparse.astype(np.float32),
        "subnormal": (bits & 0x807FFFFF).view(np.float32),
        "huge": ((bits & 0x807FFFFF) | 0x7E000000).view(np.float32),
    }


def main() -> None:
    ggml = ctypes.CDLL(sys.argv[1])
    chunk = ggml.ggml_quantize_chunk
    chunk.restype = ctypes.c_size_t
    chunk.argtypes = [ctypes.c_int, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 3, ctypes.c_void_p]
    lines = []
    for name, numbers in sources().items():
        for kind in PLAIN:
            with np.errstate(all="ignore"):
                blocks = gguf.quants.quantize(numbers.reshape(-1, 1024), kind)
            lines.append((name, kind, blocks.tobytes()))
        for kind in SCALED:
            elements, width = gguf.GGML_QUANT_SIZES[kind]
            blocks = np.zeros(COUNT // elements * width, np.uint8)
            numbers = np.ascontiguousarray(numbers, np.float32)
            chunk(int(kind), numbers.ctypes.data, blocks.ctypes.data, 0, COUNT // 1024, 1024, None)
            lines.append((name, kind, blocks.tobytes()))
    text = "".join(f"{name} {kind.name} {hashlib.sha256(blocks).hexdigest()}\n" for name, kind, blocks in lines)
    Path(__file__).with_suffix(".txt").write_text(text)


main()
