"""Writes `cast.txt`: what torch makes of numbers, as the first 16 digits of SHA-256 of the elements.

Run with torch 2.15.0, numpy 2.4.6 and ml_dtypes 0.6.0. NaN is replaced by zero first: torch's answers depend on the
vector unit. Floats become integers only where the integer is in range, for the same reason.
"""

import hashlib
import warnings
from pathlib import Path

import ml_dtypes
import numpy as np
import torch

warnings.simplefilter("ignore")
MASK = 2**64 - 1
FLOATS = {
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E8M0": torch.float8_e8m0fnu,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}
INTEGERS = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "U16": torch.uint16,
    "I32": torch.int32,
    "U32": torch.uint32,
    "I64": torch.int64,
    "U64": torch.uint64,
}


def random_words(seed: int, count: int) -> np.ndarray:
    """SplitMix64."""
    out = []
    for _ in range(count):
        seed = (seed + 0x9E3779B97F4A7C15) & MASK
        word = ((seed ^ seed >> 30) * 0xBF58476D1CE4E5B9) & MASK
        word = ((word ^ word >> 27) * 0x94D049BB133111EB) & MASK
        out.append(word ^ word >> 31)
    return np.array(out, np.uint64)


def near_one(words: np.ndarray) -> np.ndarray:
    """F32 from 2^-31 to 2^32, a part of them half way between two `F16` or two `BF16`."""
    bits = words.astype(np.uint32)
    bits = (bits & 0x807FFFFF) | ((96 + (bits >> 23 & 63)) << 23)
    place = np.arange(len(bits)) % 4
    bits[place == 2] &= 0xFFFFF000
    bits[place == 3] &= 0xFFFF8000
    return bits.view(np.float32)


def raw(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().view(torch.uint8).numpy().tobytes()


def without_nan(tensor: torch.Tensor) -> torch.Tensor:
    width = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    bits = tensor.view(width).clone()
    bits[tensor.to(torch.float64).isnan()] = 0
    return bits.view(tensor.dtype)


def sources() -> dict[str, tuple[str, torch.Tensor]]:
    every = torch.arange(65536, dtype=torch.int32).to(torch.uint16)
    byte = torch.arange(256, dtype=torch.int32).to(torch.uint8)
    words = random_words(1, 20000)
    halves = torch.from_numpy(words.astype(np.uint16).copy())
    near = near_one(words)
    sets = {
        "every-f16": ("F16", every.view(torch.float16)),
        "every-bf16": ("BF16", every.view(torch.bfloat16)),
        "near": ("F32", torch.from_numpy(near.copy())),
        "any": ("F32", torch.from_numpy(words.astype(np.uint32).view(np.float32).copy())),
        "near-f64": ("F64", torch.from_numpy(near.astype(np.float64) * (1 + 2.0**-40))),
        "signed": ("F32", halves.view(torch.int16).to(torch.float32) / 256),
        "unsigned": ("F32", halves.to(torch.float32) / 256),
    }
    for name, dtype in FLOATS.items():
        if name.startswith("F8"):
            sets[f"every-{name}"] = (name, byte.view(dtype))
    for name, dtype in INTEGERS.items():
        width = dtype.itemsize
        data = words.astype({1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}[width])
        sets[f"some-{name}"] = (name, torch.from_numpy(data.copy()).view(dtype))
    return sets


def main() -> None:
    lines = []
    for name, (_, tensor) in sources().items():
        if tensor.is_floating_point():
            tensor = without_nan(tensor)
        targets = dict(FLOATS)
        if not tensor.is_floating_point():
            targets |= INTEGERS
        elif name == "signed":
            targets |= {key: dtype for key, dtype in INTEGERS.items() if not key.startswith("U")}
        elif name == "unsigned":
            targets |= {key: dtype for key, dtype in INTEGERS.items() if key != "I8"}
        else:
            targets["BOOL"] = torch.bool
        results = {key: raw(tensor.to(dtype)) for key, dtype in targets.items()}
        if name in ("near", "every-bf16"):
            small = tensor.to(torch.float32).numpy().astype(ml_dtypes.float8_e4m3b11fnuz)
            results["F8_E4M3B11FNUZ"] = small.tobytes()
        for key, data in results.items():
            lines.append(f"{name} {key} {hashlib.sha256(data).hexdigest()[:16]}\n")
    Path(__file__).with_suffix(".txt").write_text("".join(lines))


main()
