"""Two safetensors files of random weights for `cargo xtask bench diff`: A B DTYPE SHARE BYTES.

The share of the tensors that differ moves a little everywhere, as after a training.
"""

import json
import struct
import sys

import numpy as np

LAYERS = 32
PLAN = [("attn.q", 1), ("attn.k", 1), ("attn.v", 1), ("attn.o", 1), ("mlp.up", 4), ("mlp.down", 4)]


def stored(values, dtype):
    """Bytes of single-precision numbers in a type."""
    if dtype == "F32":
        return values.tobytes()
    return (values.view(np.uint32) + 0x8000 >> 16).astype(np.uint16).tobytes()


def main():
    first, second, dtype, share, total = sys.argv[1:]
    width = {"F32": 4, "BF16": 2}[dtype]
    elements = int(total) / width / LAYERS / sum(times for _, times in PLAN)
    hidden = (int(elements**0.5) // 64 + 1) * 64
    plan = [(f"model.layers.{layer}.{name}.weight", hidden * times) for layer in range(LAYERS) for name, times in PLAN]
    header, at = {}, 0
    for name, rows in plan:
        end = at + rows * hidden * width
        header[name] = {"dtype": dtype, "shape": [rows, hidden], "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    generator = np.random.default_rng(7)
    with open(first, "wb") as one, open(second, "wb") as other:
        for file in (one, other):
            file.write(struct.pack("<Q", len(text)) + text)
        for number, (_, rows) in enumerate(plan):
            values = generator.standard_normal(rows * hidden, dtype=np.float32) * np.float32(0.02)
            one.write(stored(values, dtype))
            if number % 10 < float(share) * 10:
                values += generator.standard_normal(rows * hidden, dtype=np.float32) * np.float32(0.001)
            other.write(stored(values, dtype))


main()
