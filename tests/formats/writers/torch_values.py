"""torch files that test the values themselves: data types, views, quantised, sparse, byte order."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from oracle import Oracle, writes
from torch_oracle import DTYPES, flat

QUANTISED = {torch.qint8, torch.quint8, torch.qint32}
TYPED_STORAGE = {
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex64,
    torch.complex128,
}
"""Types older than the untyped storage, the only ones that a legacy file can hold."""


def every_dtype(dtypes: Iterable[torch.dtype] = DTYPES) -> dict[str, torch.Tensor]:
    """One small matrix of each type, a scalar, and an empty tensor."""
    numbers = torch.arange(-12, 12, dtype=torch.float64).reshape(4, 6)
    values: dict[str, torch.Tensor] = {"scalar": torch.tensor(1.5), "empty": torch.empty(0, 3, dtype=torch.float16)}
    for dtype in dtypes:
        if dtype in QUANTISED:
            continue
        if dtype is torch.float4_e2m1fn_x2:
            value = torch.arange(24, dtype=torch.uint8).reshape(4, 6).view(dtype)
        elif dtype is torch.float8_e8m0fnu:
            value = numbers.abs().add(1).to(torch.float32).to(dtype)
        elif not dtype.is_signed:
            value = numbers.abs().to(dtype)
        elif dtype.is_complex:
            value = torch.complex(numbers, -numbers.flip(0)).to(dtype)
        else:
            value = numbers.to(dtype)
        values[DTYPES[dtype].lower()] = value
    return values


def shared() -> dict[str, torch.Tensor]:
    """Views: offset, transposed, expanded, strided, overlapping, of another type, conjugated and negated."""
    base = torch.arange(64, dtype=torch.float32)
    complex_base = torch.complex(base[:8].clone(), base[8:16].clone())
    return {
        "base": base,
        "alias": base,
        "offset": base[10:20],
        "matrix": base.view(8, 8),
        "transposed": base.view(8, 8).t(),
        "permuted": base.view(2, 4, 8).permute(2, 0, 1),
        "expanded": base[3:5].unsqueeze(1).expand(2, 7),
        "strided": base[1::3],
        "overlapping": base.as_strided((5, 4), (2, 1), 6),
        "one_of_many": torch.zeros(4096)[17:18],
        "complex": complex_base,
        "conjugated": complex_base.conj(),
        "imaginary_negated": complex_base.clone().conj().imag,
        "channels_last": torch.arange(120.0).reshape(1, 2, 6, 10).contiguous(memory_format=torch.channels_last),
        "scalar_of_vector": base[33],
        "parameter": torch.nn.Parameter(base[40:44].clone()),
    }


def save(folder: Path, value: Any, *, legacy: bool = False, target: str = "model.pt", **facts: Any) -> Oracle:
    """Writes with `torch.save`, and describes what `torch.load` answers."""
    torch.save(value, folder / target, _use_new_zipfile_serialization=not legacy)
    loaded = torch.load(folder / target, weights_only=True)
    return Oracle(target, flat(loaded), **facts)


@writes("torch/dtypes")
def _(folder: Path) -> Oracle:
    return save(folder, every_dtype())


@writes("torch-legacy/dtypes")
def _(folder: Path) -> Oracle:
    return save(folder, every_dtype(TYPED_STORAGE), legacy=True)


@writes("torch/views")
def _(folder: Path) -> Oracle:
    # Two types over one storage: torch allows it only among bytes and the types that it saves without a typed storage.
    base = torch.arange(32, dtype=torch.uint8)
    types = {"bytes": base, "half_bytes": base[4:12].view(torch.float8_e4m3fn), "words": base[6:16].view(torch.uint16)}
    return save(folder, shared() | types)


@writes("torch-legacy/views")
def _(folder: Path) -> Oracle:
    return save(folder, shared(), legacy=True)


def quantised() -> dict[str, torch.Tensor]:
    """Per tensor and per channel, of all three types."""
    numbers = torch.linspace(-3, 3, 24).reshape(4, 6)
    scales, zeros = torch.tensor([0.1, 0.2, 0.05, 0.4]), torch.tensor([0, 1, 2, 3])
    return {
        "qint8": torch.quantize_per_tensor(numbers, 0.05, 3, torch.qint8),
        "quint8": torch.quantize_per_tensor(numbers, 0.05, 128, torch.quint8),
        "qint32": torch.quantize_per_tensor(numbers, 0.001, 0, torch.qint32),
        "per_channel": torch.quantize_per_channel(numbers, scales, zeros, 0, torch.qint8),
        "plain": numbers,
    }


@writes("torch/quantised")
def _(folder: Path) -> Oracle:
    return save(folder, quantised())


@writes("torch-legacy/quantised")
def _(folder: Path) -> Oracle:
    return save(folder, quantised(), legacy=True)


@writes("torch/sparse")
def _(folder: Path) -> Oracle:
    dense = torch.zeros(6, 8)
    dense[1, 2], dense[4, 7], dense[5, 0] = 1.0, -2.0, 3.5
    values = {
        "coo": dense.to_sparse(),
        "coalesced": dense.to_sparse().coalesce(),
        "csr": dense.to_sparse_csr(),
        "csc": dense.to_sparse_csc(),
        "bsr": dense.to_sparse_bsr((2, 2)),
        "hybrid": torch.eye(4).unsqueeze(2).expand(4, 4, 3).to_sparse(2),
        "dense": dense,
    }
    return save(folder, values)


@writes("torch/big-endian")
def _(folder: Path) -> Oracle:
    # torch writes its own byte order only, so the storages are swapped and the mark is changed while it saves.
    # It reads such a file everywhere, but leaves types without a typed storage (U16, C32) as they lie: left out here.
    values = {name: value.clone() for name, value in every_dtype(TYPED_STORAGE).items()}
    for value in values.values():
        width = value.dtype.itemsize // (2 if value.dtype.is_complex else 1)
        if width > 1 and value.numel():
            value.untyped_storage().byteswap({2: torch.int16, 4: torch.int32, 8: torch.int64}[width])
    native, sys.byteorder = sys.byteorder, "big"
    try:
        torch.save(values, folder / "model.pt")
    finally:
        sys.byteorder = native
    loaded = torch.load(folder / "model.pt", weights_only=True)
    return Oracle("model.pt", flat(loaded))


@writes("torch/no-checksums")
def _(folder: Path) -> Oracle:
    torch.serialization.set_crc32_options(False)
    try:
        return save(folder, {"weight": torch.arange(10.0), "bias": torch.ones(3, dtype=torch.bfloat16)})
    finally:
        torch.serialization.set_crc32_options(True)


@writes("torch/nested")
def _(folder: Path) -> Oracle:
    value = {
        "encoder": {"layers": [{"weight": torch.ones(2, 3)}, {"weight": torch.zeros(3, 2, dtype=torch.int8)}]},
        "decoder": ({"bias": torch.arange(3.0)}, torch.tensor([True, False])),
        "note": "tensors by path",
        7: torch.tensor(7),
    }
    return save(folder, value)
