"""Describes what torch loads."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from oracle import Optimizer, Tensors, tensor

DTYPES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.uint16: "U16",
    torch.int16: "I16",
    torch.uint32: "U32",
    torch.int32: "I32",
    torch.uint64: "U64",
    torch.int64: "I64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.float8_e4m3fnuz: "F8_E4M3FNUZ",
    torch.float8_e5m2fnuz: "F8_E5M2FNUZ",
    torch.float8_e8m0fnu: "F8_E8M0",
    torch.float4_e2m1fn_x2: "F4",
    torch.complex32: "C32",
    torch.complex64: "C64",
    torch.complex128: "C128",
    torch.qint8: "QI8",
    torch.quint8: "QU8",
    torch.qint32: "QI32",
}

SPARSE = {
    torch.sparse_csr: ("crow_indices", "col_indices", "values"),
    torch.sparse_csc: ("ccol_indices", "row_indices", "values"),
    torch.sparse_bsr: ("crow_indices", "col_indices", "values"),
    torch.sparse_bsc: ("ccol_indices", "row_indices", "values"),
}


def raw(value: torch.Tensor) -> bytes:
    """Row-major little-endian bytes."""
    value = value.detach().resolve_conj().resolve_neg().contiguous()
    return value.reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b""


def describe(name: str, value: torch.Tensor) -> Tensors:
    """A tensor, or the tensors that a sparse one is made of."""
    if value.layout is torch.sparse_coo:
        parts = {"indices": value._indices(), "values": value._values()}
    elif value.layout in SPARSE:
        parts = {part: getattr(value, part)() for part in SPARSE[value.layout]}
    else:
        shape = list(value.shape)
        if value.dtype is torch.float4_e2m1fn_x2:
            shape[-1] *= 2
        plain = value.int_repr() if value.is_quantized else value
        return {name: tensor(DTYPES[value.dtype], shape, raw(plain))}
    return {key: record for part, inner in parts.items() for key, record in describe(f"{name}.{part}", inner).items()}


def flat(values: Any, prefix: str = "") -> Tensors:
    """Every tensor in a tree of dictionaries and lists, by its path."""
    if isinstance(values, torch.Tensor):
        return describe(prefix, values)
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(values, Mapping):
        items = values.items()
    elif isinstance(values, list | tuple):
        items = enumerate(values)
    found: Tensors = {}
    for key, value in items:
        found |= flat(value, f"{prefix}.{key}" if prefix else str(key))
    return found


def optimizer(kind: str, state: Mapping[str, Any], names: Iterable[str] | None = None) -> Optimizer:
    """A torch optimizer's `state_dict`; `names` are the parameters in the order in which it knows them."""
    known = dict(enumerate(names)) if names is not None else {}
    tensors: Tensors = {}
    steps = []
    for index, slots in state["state"].items():
        for slot, value in slots.items():
            if slot == "step":
                steps.append(int(value))
            else:
                tensors |= flat(value, f"{known.get(index, index)}.{slot}")
    return Optimizer(kind, max(steps, default=None), tensors)


def parameters(module: torch.nn.Module) -> int:
    """Elements of the parameters, shared ones once."""
    return sum(parameter.numel() for parameter in module.parameters())
