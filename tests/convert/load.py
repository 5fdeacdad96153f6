"""Loads converted files with the real libraries, and prints every tensor's name, type, shape and digest.

Reads paths from stdin, one a line; answers one JSON object a line. Types are spelled as safetensors spells them.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

TORCH = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3", torch.float8_e5m2: "F8_E5M2", torch.float8_e4m3fnuz: "F8_E4M3FNUZ",
    torch.float8_e5m2fnuz: "F8_E5M2FNUZ", torch.float8_e8m0fnu: "F8_E8M0", torch.complex32: "C32",
    torch.complex64: "C64", torch.complex128: "C128", torch.bool: "BOOL", torch.uint8: "U8", torch.int8: "I8",
    torch.uint16: "U16", torch.int16: "I16", torch.uint32: "U32", torch.int32: "I32", torch.uint64: "U64",
    torch.int64: "I64",
}  # fmt: skip
NUMPY = {
    "float64": "F64", "float32": "F32", "float16": "F16", "complex64": "C64", "complex128": "C128", "bool": "BOOL",
    "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16", "uint32": "U32", "int32": "I32", "uint64": "U64",
    "int64": "I64",
}  # fmt: skip


def of_torch(tensor: torch.Tensor) -> dict[str, Any]:
    """A tensor of torch."""
    tensor = tensor.detach().resolve_conj().resolve_neg().contiguous()
    raw = b"" if tensor.numel() == 0 else bytes(tensor.reshape(-1).view(torch.uint8).numpy())
    packed = tensor.dtype == torch.float4_e2m1fn_x2
    dtype = "F4" if packed else TORCH[tensor.dtype]
    shape = [*tensor.shape[:-1], tensor.shape[-1] * 2] if packed else list(tensor.shape)
    return {"dtype": dtype, "shape": shape, "sha256": hashlib.sha256(raw).hexdigest()}


def of_numpy(array: np.ndarray) -> dict[str, Any]:
    """An array of NumPy."""
    raw = np.ascontiguousarray(array).tobytes()
    return {
        "dtype": NUMPY[array.dtype.name],
        "shape": list(array.shape),
        "sha256": hashlib.sha256(raw).hexdigest(),
    }


def flat(tree: Any, prefix: str = "") -> dict[str, torch.Tensor]:
    """The tensors of nested dictionaries, by their paths."""
    found = {}
    for key, value in tree.items():
        if isinstance(value, torch.Tensor):
            found[f"{prefix}{key}"] = value
        elif isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
    return found


def unknown_to_torch(path: Path) -> dict[str, Any] | None:
    """Every tensor of a safetensors file with types that torch does not have; nothing where it has all."""
    raw = path.read_bytes()
    begin = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:begin])
    header.pop("__metadata__", None)
    if not any(entry["dtype"].startswith("F6") for entry in header.values()):
        return None
    found = {}
    for name, entry in header.items():
        first, end = (begin + at for at in entry["data_offsets"])
        digest = hashlib.sha256(raw[first:end]).hexdigest()
        found[name] = {"dtype": entry["dtype"], "shape": entry["shape"], "sha256": digest}
    return found


def load(path: Path) -> dict[str, Any]:
    """Every tensor of a file."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return {name: of_numpy(arrays[name]) for name in arrays.files}
    if path.suffix == ".safetensors":
        if found := unknown_to_torch(path):
            return found
        with safe_open(path, framework="pt") as file:
            return {name: of_torch(file.get_tensor(name)) for name in file.keys()}
    mapped = torch.load(path, weights_only=True, mmap=True)
    plain = torch.load(path, weights_only=True)
    found = {name: of_torch(tensor) for name, tensor in flat(plain).items()}
    assert found == {name: of_torch(tensor) for name, tensor in flat(mapped).items()}
    return found


for line in sys.stdin:
    try:
        answer: dict[str, Any] = {"tensors": load(Path(line.strip()))}
    except Exception as error:  # noqa: BLE001
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)
