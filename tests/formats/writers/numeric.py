"""NumPy's npy and npz, MLX's npz, and the pickles of scikit-learn and joblib."""

import io
import json
import pickle
from pathlib import Path

import joblib
import ml_dtypes
import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from numpy_oracle import array, arrays
from oracle import Oracle, writes

NUMBERS = np.arange(24, dtype=np.float64).reshape(4, 6) - 12


def save(folder: Path, value: np.ndarray) -> Oracle:
    """One array; it has no name, so it is called by its file's stem."""
    np.save(folder / "weights.npy", value)
    return Oracle("weights.npy", {"weights": array(np.load(folder / "weights.npy"))})


@writes("npy/c-order")
def _(folder: Path) -> Oracle:
    return save(folder, NUMBERS.astype(np.float32))


@writes("npy/fortran")
def _(folder: Path) -> Oracle:
    return save(folder, np.asfortranarray(np.arange(120, dtype=np.int16).reshape(4, 5, 6)))


@writes("npy/big-endian")
def _(folder: Path) -> Oracle:
    return save(folder, NUMBERS.astype(">f4"))


@writes("npy/scalar")
def _(folder: Path) -> Oracle:
    return save(folder, np.array(2.5))


@writes("npy/empty")
def _(folder: Path) -> Oracle:
    return save(folder, np.empty((0, 3), dtype=np.float16))


@writes("npy/version-2")
def _(folder: Path) -> Oracle:
    with (folder / "weights.npy").open("wb") as file:
        np.lib.format.write_array(file, NUMBERS, version=(2, 0))
    return Oracle("weights.npy", {"weights": array(np.load(folder / "weights.npy"))})


@writes("npy/structured")
def _(folder: Path) -> Oracle:
    # Each field is a tensor of its own; names of fields outside latin-1 make it version 3.
    kind = np.dtype([("weight", "<f4", (2, 3)), ("größe", ">i2"), ("重み", [("low", "u1"), ("high", "<f8")])])
    value = np.zeros(5, dtype=kind)
    value["weight"] = np.arange(30).reshape(5, 2, 3)
    value["größe"] = np.arange(5) - 2
    value["重み"]["low"] = np.arange(5)
    value["重み"]["high"] = np.arange(5) / 4
    with (folder / "weights.npy").open("wb") as file:
        np.lib.format.write_array(file, value, version=(3, 0))
    loaded = np.load(folder / "weights.npy")
    fields = {
        "weights.weight": loaded["weight"],
        "weights.größe": loaded["größe"],
        "weights.重み.low": loaded["重み"]["low"],
        "weights.重み.high": loaded["重み"]["high"],
    }
    return Oracle("weights.npy", arrays(fields))


@writes("npy/object")
def _(folder: Path) -> Oracle:
    # The data is a pickle: nothing to show but that there is one.
    np.save(folder / "weights.npy", np.array([{"a": 1}, [2, 3]], dtype=object))
    return Oracle("weights.npy", {}, metadata={}, optional=["weights"])


@writes("npy/strings")
def _(folder: Path) -> Oracle:
    np.save(folder / "weights.npy", np.array(["a", "größe"]))
    return Oracle("weights.npy", {"weights": array(np.load(folder / "weights.npy"))})


def every_dtype() -> dict[str, np.ndarray]:
    """One matrix of each type that NumPy saves by a portable name."""
    names = "? u1 i1 <u2 <i2 <u4 <i4 <u8 <i8 <f2 <f4 <f8 <c8 <c16 >u2 >i4 >f8 >c8"
    return {name.replace("<", "little_").replace(">", "big_").replace("?", "bool"): np.abs(NUMBERS).astype(name)
            for name in names.split()}  # fmt: skip


@writes("npz/stored")
def _(folder: Path) -> Oracle:
    np.savez(folder / "weights.npz", **every_dtype())
    with np.load(folder / "weights.npz") as file:
        return Oracle("weights.npz", arrays(dict(file)))


@writes("npz/compressed")
def _(folder: Path) -> Oracle:
    np.savez_compressed(folder / "weights.npz", **every_dtype(), **{"nested/name": np.zeros((64, 64), np.float32)})
    with np.load(folder / "weights.npz") as file:
        return Oracle("weights.npz", arrays(dict(file)))


@writes("npz/bfloat16")
def _(folder: Path) -> Oracle:
    # NumPy writes ml_dtypes' bfloat16 as two opaque bytes, `|V2`; nothing else is written so.
    value = NUMBERS.astype(ml_dtypes.bfloat16)
    np.savez(folder / "weights.npz", weight=value)
    with np.load(folder / "weights.npz") as file:
        assert file["weight"].dtype == np.dtype("V2")
        return Oracle("weights.npz", arrays({"weight": file["weight"].view(ml_dtypes.bfloat16)}))


@writes("npz/mlx")
def _(folder: Path) -> Oracle:
    # mlx.core.savez writes this same layout; its library runs on Apple's machines.
    target = folder / "model"
    target.mkdir(exist_ok=True)
    prefix = "model.layers.0.mlp.gate_proj"
    values = {
        f"{prefix}.weight": np.arange(256, dtype=np.uint32).reshape(32, 8),
        f"{prefix}.scales": np.linspace(0.01, 0.02, 32, dtype=np.float16).reshape(32, 1),
        f"{prefix}.biases": np.linspace(-1, 1, 32, dtype=np.float16).reshape(32, 1),
    }
    np.savez(target / "weights.npz", **values)
    config = {"model_type": "llama", "hidden_size": 64, "quantization": {"group_size": 64, "bits": 4}}
    (target / "config.json").write_text(json.dumps(config))
    with np.load(target / "weights.npz") as file:
        return Oracle("model", arrays(dict(file)), family="llama", metadata={"bits": 4, "group_size": 64})


def pickled(folder: Path, model: object, **options: object) -> Oracle:
    """`joblib.dump`; the tensors are the arrays among the attributes, by the path of attributes and places."""
    path = folder / "model.joblib"
    joblib.dump(model, path, **options)
    loaded = joblib.load(path)
    return Oracle("model.joblib", attributes(loaded), class_=type(loaded).__name__)


def attributes(model: object, prefix: str = "") -> dict:
    """Arrays among the attributes of an estimator, numbers aside."""
    found = {}
    for name, value in vars(model).items():
        if isinstance(value, np.ndarray) and value.dtype != object:
            found[prefix + name] = array(value)
    return found


def regression() -> LogisticRegression:
    """A fitted linear model."""
    random = np.random.default_rng(7)
    return LogisticRegression().fit(random.normal(size=(40, 5)), random.integers(0, 3, 40))


@writes("joblib/plain")
def _(folder: Path) -> Oracle:
    return pickled(folder, regression())


@writes("joblib/zlib")
def _(folder: Path) -> Oracle:
    return pickled(folder, regression(), compress=3)


@writes("joblib/xz")
def _(folder: Path) -> Oracle:
    # Identified, not looked into: we have no decoder of xz.
    pickled(folder, regression(), compress=("xz", 3))
    return Oracle("model.joblib", None, metadata={"compression": "xz"})


@writes("pickle/sklearn")
def _(folder: Path) -> Oracle:
    model = StandardScaler().fit(np.random.default_rng(7).normal(size=(20, 4)))
    (folder / "model.pkl").write_bytes(pickle.dumps(model, protocol=5))
    loaded = pickle.loads((folder / "model.pkl").read_bytes())
    return Oracle("model.pkl", attributes(loaded), class_="StandardScaler")


@writes("pickle/forest")
def _(folder: Path) -> Oracle:
    # Trees are objects of Cython with structured arrays: identified, not taken apart.
    random = np.random.default_rng(7)
    model = RandomForestClassifier(3, max_depth=3).fit(random.normal(size=(40, 5)), random.integers(0, 3, 40))
    buffer = io.BytesIO()
    pickle.dump(model, buffer)
    (folder / "model.pkl").write_bytes(buffer.getvalue())
    assert pickle.loads(buffer.getvalue()).n_classes_ == 3
    return Oracle("model.pkl", None, class_="RandomForestClassifier")
