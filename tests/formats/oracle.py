"""What `wh inspect` must say about a fixture: written by the library that wrote the fixture, after loading it back.

A fixture lies in a folder of its own, beside its `oracle.json`. The rules for names, where a format leaves a choice:

- **Names.** The keys that the library's own loader shows. In nested containers the path is joined with dots. The
  model's state dict inside a larger object (`state_dict`, `model_state_dict`, `module`, `model`, `ema`) is named
  without the prefix of that wrapper; what lies beside it (counters, random states, callbacks) is not a tensor of the
  model.
- **Data types.** As safetensors spells them, and in the same style where it has no word: `C32`, `C128`, `I4`, `U4`,
  `I2`, `U2`, `F8_E4M3B11FNUZ`, `STRING`. NumPy's unicode is `STRING`, `datetime64` is `I64`; GGUF's block types have
  their own names (`Q4_K`). torch's quantised tensors are `QI8`, `QU8`, `QI32`.
- **Bytes.** Row-major, little-endian, contiguous, after conjugation and negation; packed types as they are stored,
  the first element in the low bits. `STRING` has no digest. A GGUF block type's digest is of the stored blocks.
- **ONNX.** Initialisers by name, also those of subgraphs; a `Constant` node's tensor by the node's output.
- **Sparse.** A tensor `x` is the tensors it is made of: `x.indices` and `x.values`, or `x.crow_indices`,
  `x.col_indices` and `x.values` (`ccol_indices` and `row_indices` by column).
- **Optimizer.** `parameter.slot`, with the parameter's own name where the checkpoint tells the order of the
  parameters, else its number: a state dict of torch keeps that order, safetensors sorts. Step counters are `step`,
  not tensors. `kind` is the class in lower case; `adam` and `adamw` differ where the groups' settings tell.
- **Parameters.** What the library counts: the elements of `model.parameters()`, shared ones once, buffers not.
  Without a model, nothing is claimed.
- **Aliases.** Every name is listed, also when two share their bytes.
"""

import hashlib
import json
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Tensor:
    """One tensor as the library shows it."""

    dtype: str
    shape: list[int]
    sha256: str | None
    bytes: int | None = None
    dequantized_sha256: str | None = None
    """For quantised blocks: of the library's own F32 answer."""


Tensors = dict[str, Tensor]


@dataclass
class Optimizer:
    """State of an optimizer."""

    kind: str | None
    step: int | None
    tensors: Tensors


@dataclass
class Oracle:
    """Everything that is known about a fixture."""

    target: str
    """What `wh inspect` is given, relative to the fixture's folder."""
    tensors: Tensors | None
    """Nothing is claimed about them where it is `None`."""
    family: str | None = None
    class_: str | None = None
    """Class of the model, where the checkpoint names it."""
    parameters: int | None = None
    optimizer: Optimizer | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    """Facts that must appear, by any name, among the metadata."""
    optional: list[str] = field(default_factory=list)
    """Tensors that may be listed or not."""


Writer = Callable[[Path], Oracle]
WRITERS: dict[str, Writer] = {}


def writes(name: str) -> Callable[[Writer], Writer]:
    """Registers the function that writes a fixture into a folder and describes it."""

    def register(writer: Writer) -> Writer:
        if name in WRITERS:
            raise ValueError(f"two writers for `{name}`")
        WRITERS[name] = writer
        return writer

    return register


def tensor(dtype: str, shape: Iterable[int], data: bytes, dequantized: bytes | None = None) -> Tensor:
    """Describes a tensor by its contiguous bytes."""
    plain = None if dequantized is None else hashlib.sha256(dequantized).hexdigest()
    return Tensor(dtype, [int(extent) for extent in shape], hashlib.sha256(data).hexdigest(), len(data), plain)


def run(out: Path, catalogue: Mapping[str, tuple[str, str]], wanted: list[str]) -> int:
    """Runs the writers, each into its own folder; a failed one leaves its traceback instead of an oracle."""
    if catalogue.keys() != WRITERS.keys():
        raise SystemExit(f"writers and catalogue differ: {sorted(catalogue.keys() ^ WRITERS.keys())}")
    failed = 0
    for name, writer in list(WRITERS.items()):
        if wanted and not any(name.startswith(prefix) for prefix in wanted):
            continue
        folder = out / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        began = time.monotonic()
        try:
            answer: dict[str, Any] = {"fixture": name, "format": catalogue[name][0], **asdict(writer(folder))}
        except Exception:
            failed += 1
            answer = {"fixture": name, "error": traceback.format_exc()}
            print(answer["error"], file=sys.stderr)
        (folder / "oracle.json").write_text(json.dumps(answer, indent=1, sort_keys=True))
        print(f"{name}: {time.monotonic() - began:.1f} s", flush=True)
    return min(failed, 1)
