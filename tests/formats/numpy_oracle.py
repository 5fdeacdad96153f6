"""Describes what NumPy, JAX and TensorFlow load."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from oracle import Tensor, Tensors, tensor

NAMES = {
    "bool": "BOOL",
    "bfloat16": "BF16",
    "float16": "F16",
    "float32": "F32",
    "float64": "F64",
    "complex64": "C64",
    "complex128": "C128",
    "int4": "I4",
    "uint4": "U4",
    "int2": "I2",
    "uint2": "U2",
    "float4_e2m1fn": "F4",
    "float6_e2m3fn": "F6_E2M3",
    "float6_e3m2fn": "F6_E3M2",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e4m3b11fnuz": "F8_E4M3B11FNUZ",
    "float8_e5m2": "F8_E5M2",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
} | {f"{sign}int{bits}": f"{sign[:1].upper() or 'I'}{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}


NARROW = {"I4": 4, "U4": 4, "F4": 4, "I2": 2, "U2": 2, "F6_E2M3": 6, "F6_E3M2": 6}
"""Bits of the types that lie one a byte in memory, and packed in files."""


def pack(codes: np.ndarray, bits: int) -> bytes:
    """Packs the low bits of each byte, the first element in the lowest."""
    spread = np.unpackbits(codes.reshape(-1, 1).view(np.uint8), axis=1, bitorder="little")[:, :bits]
    return np.packbits(spread.reshape(-1), bitorder="little").tobytes()


def array(value: np.ndarray) -> Tensor:
    """One array, row-major and little-endian."""
    if value.dtype.kind in "SUO":
        return Tensor("STRING", list(value.shape), None)
    name = NAMES[value.dtype.name]
    if name in NARROW:
        return tensor(name, value.shape, pack(np.ascontiguousarray(value).view(np.uint8), NARROW[name]))
    little = np.ascontiguousarray(value).astype(value.dtype.newbyteorder("<"), copy=False)
    return tensor(name, value.shape, little.tobytes())


def arrays(values: Mapping[str, Any]) -> Tensors:
    """Several arrays."""
    return {name: array(np.asarray(value)) for name, value in values.items()}
