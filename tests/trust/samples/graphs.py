"""Graphs and layers: Keras, TensorFlow, ONNX, HDF5, safetensors."""

import json
import struct
from pathlib import Path

from samples.build import field, sample, single, torch_zip


def keras(config: dict) -> bytes:
    """An archive of Keras 3, without weights."""
    return torch_zip(json.dumps(config).encode(), name="config.json", more={"metadata.json": b"{}"})


def model(layer: dict) -> dict:
    """A model of one layer in another."""
    inner = {"class_name": "TimeDistributed", "module": "keras.layers", "config": {"layer": layer}}
    return {"class_name": "Sequential", "module": "keras", "config": {"layers": [inner]}}


LAYERS = [
    ("lambda", {"class_name": "Lambda", "module": "keras.layers", "config": {"function": {"class_name": "__lambda__", "config": {"code": "4wEA"}}}}, "unsafe", "CVE-2024-3660"),
    ("module", {"class_name": "function", "module": "os", "config": "system", "registered_name": "function"}, "unsafe", "CVE-2025-1550"),
    ("get-file", {"class_name": "function", "module": "keras.utils", "config": "get_file", "registered_name": "function"}, "unsafe", "CVE-2025-8747"),
    ("unsafe-mode", {"class_name": "function", "module": "keras.config", "config": "enable_unsafe_deserialization"}, "unsafe", "CVE-2025-9906"),
    ("vocabulary", {"class_name": "StringLookup", "module": "keras.layers", "config": {"vocabulary": "/etc/passwd"}}, "suspicious", "CVE-2025-12058"),
    ("load-data", {"class_name": "function", "module": "keras.datasets.mnist", "config": "load_data"}, "unsafe", "CVE-2025-12060"),
    ("torch-module", {"class_name": "TorchModuleWrapper", "module": "keras.layers", "config": {"module": "gAQ="}}, "unsafe", "CVE-2025-49655"),
    ("saved-model", {"class_name": "TFSMLayer", "module": "keras.layers", "config": {"filepath": "/tmp/x"}}, "unsafe", "CVE-2026-1462"),
    ("registered", {"class_name": "Mine", "module": None, "config": {}, "registered_name": "Custom>Mine"}, "caution", "custom classes"),
    ("dense", {"class_name": "Dense", "module": "keras.layers", "config": {"units": 1}}, "safe", ""),
]
for name, layer, expected, family in LAYERS:
    single(f"keras/{name}", keras(model(layer)), expected, file="model.keras", family=family)


def node(operator: str, more: bytes = b"") -> bytes:
    """A node of TensorFlow."""
    return field(1, "n") + field(2, operator) + more


def saved(graph: str, function: str = "Identity", more: bytes = b"") -> bytes:
    """A SavedModel."""
    library = field(2, field(1, field(3, node(function, more))))
    meta = field(1, field(4, "serve")) + field(2, field(1, node(graph, more)) + library)
    return field(1, 1) + field(2, meta)


for name, data, expected in [
    ("read-file", saved("ReadFile"), "unsafe"),
    ("write-file-in-function", saved("MatMul", "WriteFile"), "unsafe"),
    ("py-func", saved("PyFunc"), "unsafe"),
    ("print-to-file", saved("PrintV2", more=field(5, field(1, "output_stream") + field(2, field(2, "file:///tmp/x")))), "unsafe"),
    ("debug", saved("DebugIdentityV2", more=field(5, field(1, "debug_urls") + field(2, field(2, "file:///tmp/x")))), "unsafe"),
    ("custom", saved("OperatorOfAPlugin"), "caution"),
    ("good", saved("MatMul", "RestoreV2"), "safe"),
]:
    single(f"tensorflow/{name}", data, expected, file="saved_model.pb", family="operators" if expected != "safe" else "")
single("tensorflow/keras-metadata", field(1, field(5, json.dumps({"class_name": "Lambda", "config": {}}))), "unsafe", file="keras_metadata.pb", family="CVE-2024-3660")


def onnx(graph: bytes, more: bytes = b"") -> bytes:
    """A model of ONNX."""
    return field(1, 8) + field(2, "test") + field(7, graph) + field(8, field(2, 18)) + more


def external(location: str) -> bytes:
    """A tensor in a file."""
    return field(2, 1) + field(8, "w") + field(13, field(1, "location") + field(2, location)) + field(14, 1)


for name, data, expected, family in [
    ("traversal", onnx(field(5, external("../../etc/passwd"))), "unsafe", "CVE-2022-25882"),
    ("traversal-inside", onnx(field(5, external("a/../../b"))), "unsafe", "CVE-2024-27318"),
    ("absolute", onnx(field(5, external("/etc/passwd"))), "unsafe", "CVE-2024-5187"),
    ("in-branch", onnx(field(1, field(4, "If") + field(5, field(6, field(5, external("../x")))))), "unsafe", "CVE-2024-27318"),
    ("python-operator", onnx(field(1, field(4, "PyOp") + field(7, "ai.onnx.contrib"))), "suspicious", "custom operators"),
    ("custom-domain", onnx(field(1, field(4, "Run") + field(7, "mine"))), "caution", "custom operators"),
    ("good", onnx(field(1, field(4, "MatMul"))), "safe", ""),
]:
    single(f"onnx/{name}", data, expected, file="model.onnx", family=family)


def safetensors(header: dict | str, data: int) -> bytes:
    """A header and zeros."""
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(text)) + text + bytes(data)


ONE = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
single("safetensors/good", safetensors(ONE, 8), "safe", file="model.safetensors")
single("safetensors/trailing", safetensors(ONE, 16), "error", file="model.safetensors", family="hidden bytes")
single("safetensors/pickle", b"\x80\x04}.", "suspicious", file="model.safetensors", family="names")


def h5(name: str, expected: str, family: str, fill) -> None:
    """A file of HDF5, where h5py is there."""

    @sample(f"hdf5/{name}", expected, family)
    def write(folder: Path) -> str:
        import h5py

        with h5py.File(folder / "model.h5", "w") as file:
            fill(file)
        return "model.h5"


def lambda_config(file) -> None:
    """A model with Python code in a layer."""
    config = {"class_name": "Sequential", "config": {"layers": [{"class_name": "Lambda", "config": {"function": ["4wEA", None, None], "function_type": "lambda"}}]}}
    file.attrs["model_config"] = json.dumps(config)


def external_link(file) -> None:
    """A dataset of another file."""
    import h5py

    file["weights"] = h5py.ExternalLink("/etc/passwd", "/x")


def external_storage(file) -> None:
    """A dataset whose bytes are those of any file."""
    file.create_dataset("weights", (16,), dtype="u1", external=[("/etc/passwd", 0, 16)])


def virtual(file) -> None:
    """A dataset made of others."""
    import h5py

    layout = h5py.VirtualLayout(shape=(4,), dtype="f4")
    layout[:] = h5py.VirtualSource("/tmp/other.h5", "x", shape=(4,))
    file.create_virtual_dataset("weights", layout)


def huge(file) -> None:
    """A dataset that claims a terabyte."""
    file.create_dataset("weights", (1 << 38,), dtype="f4", chunks=(1024,))


h5("lambda", "unsafe", "CVE-2025-9905", lambda_config)
h5("external-link", "unsafe", "CVE-2026-1669", external_link)
h5("external-storage", "unsafe", "CVE-2026-1669", external_storage)
h5("virtual", "unsafe", "CVE-2026-1669", virtual)
h5("huge", "suspicious", "CVE-2026-0897", huge)
h5("good", "safe", "", lambda file: file.create_dataset("weights", data=[1.0, 2.0]))
