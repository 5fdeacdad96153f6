"""Writes `gguf_dequantised.txt`: what gguf-py makes of pseudo-random blocks, as SHA-256 of the F32 elements.

Run with `pip install gguf==0.19.0 numpy`. `Q8_1`, `Q8_K` and `Q1_0`, which gguf-py does not dequantise, are computed here
from the structures of their blocks.
"""

import hashlib
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

BLOCKS = 257
MASK = 2**64 - 1

# Upper bytes of scales: without the upper bit of the exponent they are finite and not too large.
SCALES = {
    Type.F16: (1,),
    Type.BF16: (),
    Type.Q1_0: (1,),
    Type.Q4_0: (1,),
    Type.Q4_1: (1, 3),
    Type.Q5_0: (1,),
    Type.Q5_1: (1, 3),
    Type.Q8_0: (1,),
    Type.Q8_1: (3, 7),
    Type.IQ4_NL: (1,),
    Type.MXFP4: (),
    Type.NVFP4: (),
    Type.Q2_K: (81, 83),
    Type.Q3_K: (109,),
    Type.Q4_K: (1, 3),
    Type.Q5_K: (1, 3),
    Type.Q6_K: (209,),
    Type.Q8_K: (3,),
    Type.TQ1_0: (53,),
    Type.TQ2_0: (65,),
    Type.IQ4_XS: (1,),
    Type.IQ2_XXS: (1,),
    Type.IQ2_XS: (1,),
    Type.IQ2_S: (1,),
    Type.IQ3_XXS: (1,),
    Type.IQ3_S: (1,),
    Type.IQ1_S: (1,),
    Type.IQ1_M: (55,),
}


def random_bytes(seed: int, count: int) -> bytearray:
    """SplitMix64, eight bytes a step."""
    out = bytearray()
    while len(out) < count:
        seed = (seed + 0x9E3779B97F4A7C15) & MASK
        word = ((seed ^ seed >> 30) * 0xBF58476D1CE4E5B9) & MASK
        word = ((word ^ word >> 27) * 0x94D049BB133111EB) & MASK
        out += (word ^ word >> 31).to_bytes(8, "little")
    return out[:count]


def dequantise(blocks: np.ndarray, kind: Type) -> np.ndarray:
    if kind is Type.Q8_1:
        return blocks[:, :4].copy().view("<f4") * blocks[:, 8:].view(np.int8).astype(np.float32)
    if kind is Type.Q8_K:
        return blocks[:, :4].copy().view("<f4") * blocks[:, 4:260].copy().view(np.int8).astype(np.float32)
    if kind is Type.Q1_0:
        scale = blocks[:, :2].copy().view("<f2").astype(np.float32)
        bits = np.unpackbits(blocks[:, 2:], axis=-1, bitorder="little")
        return np.where(bits == 1, scale, -scale)
    return gguf.quants.dequantize(blocks, kind)


def main() -> None:
    lines = []
    for kind, scales in SCALES.items():
        width = gguf.GGML_QUANT_SIZES[kind][1]
        data = random_bytes(int(kind), BLOCKS * width)
        for block in range(BLOCKS):
            for place in scales:
                data[block * width + place] &= 0xBF
        numbers = dequantise(np.frombuffer(bytes(data), np.uint8).reshape(BLOCKS, width), kind)
        assert not np.isnan(numbers).any() or kind is Type.BF16, kind
        digest = hashlib.sha256(np.ascontiguousarray(numbers, "<f4").tobytes()).hexdigest()
        places = ",".join(map(str, scales)) or "-"
        lines.append(f"{kind.name} {int(kind)} {places} {digest}\n")
    Path(__file__).with_suffix(".txt").write_text("".join(lines))


main()
