"""GGUF headers that attack the runtimes that read them, and files that loaders unpickle by their names."""

import struct

from samples.archives import EVIL
from samples.build import STOP, SYSTEM, call, gguf, pickled, sample, single, text

U64 = (1 << 64) - 1


def head(tensors: int = 0, entries: int = 0, version: int = 3) -> bytes:
    """The first bytes of a GGUF file."""
    return b"GGUF" + struct.pack("<IQQ", version, tensors, entries)


def string(value: bytes, length: int | None = None) -> bytes:
    """A text with its length, or another length."""
    return struct.pack("<Q", len(value) if length is None else length) + value


def tensor(shape: list[int], kind: int = 0, offset: int = 0, name: bytes = b"w", dimensions: int | None = None) -> bytes:
    """What a GGUF file says of a tensor."""
    return string(name) + struct.pack("<I", len(shape) if dimensions is None else dimensions) + struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", kind, offset)


def padded(data: bytes, more: int = 0) -> bytes:
    """Up to the next multiple of 32, and bytes behind it."""
    return data + bytes(-len(data) % 32) + bytes(more)


for name, data, family in [
    ("five-dimensions", padded(head(1) + tensor([1, 1, 1, 1, 1]), 64), "CVE-2024-21802"),
    ("dimensions-without-end", padded(head(1) + tensor([1], dimensions=0xFFFFFFFF), 64), "CVE-2024-21802"),
    ("text-of-any-length", head(0, 1) + string(b"general.name") + struct.pack("<I", 8) + string(b"x", U64), "CVE-2024-21825"),
    ("tensors-without-end", head(U64 // 32), "CVE-2024-21836"),
    ("key-of-any-length", head(0, 1) + string(b"general.name", U64), "CVE-2024-23496"),
    ("entries-without-end", head(0, U64 // 16), "CVE-2024-23605"),
    ("list-without-end", head(0, 1) + string(b"k") + struct.pack("<IIQ", 9, 4, U64 // 4 + 2), "CVE-2024-25664"),
    ("list-of-no-type", head(0, 1) + string(b"k") + struct.pack("<IIQ", 9, 99, 4) + bytes(32), "CVE-2024-25665"),
    ("value-of-no-type", head(0, 1) + string(b"k") + struct.pack("<I", 77) + bytes(16), "CVE-2024-25666"),
    ("list-of-texts-that-end", head(0, 1) + string(b"k") + struct.pack("<IIQ", 9, 8, 1 << 40) + string(b"x"), "CVE-2024-25667"),
    ("tensor-of-no-type", padded(head(1) + tensor([32], kind=250), 64), "CVE-2024-25668"),
    ("alignment-of-nothing", padded(head(1, 1) + string(b"general.alignment") + struct.pack("<II", 4, 0) + tensor([8]), 64), "CVE-2024-25669"),
    ("sum-of-sizes", padded(head(3) + b"".join(tensor([1 << 62], name=b"abc"[at : at + 1], offset=at << 60) for at in range(3)), 64), "CVE-2025-53630"),
    ("offset-beyond", padded(head(1) + tensor([8], offset=U64 - 31), 64), "CVE-2026-27940"),
    ("size-overflow", padded(head(1) + tensor([1 << 33, 1 << 33]), 64), "CVE-2026-33298"),
    ("tensor-longer-than-file", padded(head(1) + tensor([1 << 20]), 64), "CVE-2026-7482"),
    ("block-cut", padded(head(1) + tensor([33], kind=2), 64), "CVE-2026-7482"),
]:
    single(f"gguf/{name}", data, "error", file="model.gguf", family=family)
single("gguf/one-tensor", padded(head(1) + tensor([8]), 32), "safe", file="model.gguf")

single("trainer/rng-state", EVIL, "unsafe", file="rng_state.pth", family="CVE-2026-1839")
single("trainer/scheduler", pickled(SYSTEM), "unsafe", file="scheduler.pt", family="CVE-2026-1839")

SUBMODULES = {
    "asyncio": call("asyncio.unix_events", "_UnixSubprocessTransport._start", text("x")),
    "os": call("os.path", "os.system", text("x")),
    "subprocess": call("multiprocessing.popen_spawn_posix", "Popen", text("x")),
    "torch": call("torch.hub.os", "system", text("x")),
}
for name, body in SUBMODULES.items():
    single(f"pickle/submodule-{name}", pickled(body), "unsafe", file="model.pkl", family="CVE-2025-10157")
single(
    "pickle/allowed-then-dangerous",
    pickled(call("collections", "OrderedDict") + b"0" + call("torch", "Size", b"]") + b"0" + call("_io", "FileIO", text("/etc/passwd"))),
    "unsafe",
    file="model.pkl",
    family="GHSA-cffv-grgg-g429",
)


@sample("mlflow/python-model", "unsafe", "CVE-2024-37060")
def python_model(folder):
    """A folder as MLflow logs it, with a pickled model."""
    (folder / "MLmodel").write_text("flavors:\n  python_function:\n    loader_module: mlflow.pyfunc.model\n    python_model: python_model.pkl\n")
    (folder / "python_model.pkl").write_bytes(b"\x80\x04" + SYSTEM + STOP)


@sample("mlflow/code-path", "caution", "CVE-2024-37053")
def code_path(folder):
    """A folder as MLflow logs it, with scripts that are put on the path."""
    (folder / "MLmodel").write_text("flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n    code: code\n")
    (folder / "code").mkdir()
    (folder / "code/helper.py").write_text("import os\n")


single("gguf/template-in-list", gguf({"tokenizer.chat_template.rag": "{{ m['__cla' ~ 'ss__'] }}"}), "unsafe", file="model.gguf", family="CVE-2024-34359")
