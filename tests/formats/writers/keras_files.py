"""Keras 3: the legacy .h5, .weights.h5, and .keras.

A tensor is called by its dataset's path, in the legacy file below `model_weights`, and so is the optimizer's state
(below `optimizer_weights` in the legacy file). Parameters are what `count_params` counts, running statistics too. The
step counter and the learning rate lie among that state.
"""

import io
import zipfile
from pathlib import Path
from typing import IO, Any

import h5py
import keras
import numpy as np

from numpy_oracle import array
from oracle import Optimizer, Oracle, Tensors, writes


def randomise(model: keras.Model) -> keras.Model:
    """Numbers that differ from variable to variable, the same in every run."""
    random = np.random.default_rng(7)
    model.set_weights([random.normal(0, 0.1, value.shape).astype(value.dtype) for value in model.get_weights()])
    return model


def trained(optimizer: Any = "adam") -> keras.Model:
    """Two dense layers after two steps."""
    keras.utils.clear_session()
    layers = [keras.Input((4,)), keras.layers.Dense(3, name="first"), keras.layers.Dense(2, name="second")]
    model = randomise(keras.Sequential(layers))
    model.compile(optimizer, "mse")
    model.fit(np.ones((4, 4)), np.ones((4, 2)), batch_size=2, shuffle=False, verbose=0)
    return model


def convolutional() -> keras.Model:
    """A functional model with a residual connection, running statistics and a depthwise convolution."""
    keras.utils.clear_session()
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(16, 3, padding="same", name="stem")(image)
    y = keras.layers.BatchNormalization(name="norm")(x)
    y = keras.layers.DepthwiseConv2D(3, padding="same", name="depthwise")(y)
    x = keras.layers.Add()([x, y])
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, keras.layers.Dense(80, name="head")(x))
    return randomise(model)


def datasets(file: str | Path | IO[bytes]) -> Tensors:
    """Every dataset of an HDF5 file by its path."""
    found: Tensors = {}

    def visit(name: str, entry: h5py.HLObject) -> None:
        if isinstance(entry, h5py.Dataset):
            found[name] = array(np.asarray(entry[()]))

    with h5py.File(file) as opened:
        opened.visititems(visit)
    return found


def legacy(folder: Path, model: keras.Model, optimizer: str | None) -> Oracle:
    """The .h5 of Keras 1 and 2, which Keras 3 still writes."""
    model.save(folder / "model.h5")
    loaded = keras.models.load_model(folder / "model.h5", compile=False)
    found = datasets(folder / "model.h5")
    weights = {
        name.removeprefix("model_weights/"): value for name, value in found.items() if name.startswith("model_w")
    }
    state = {name.removeprefix("optimizer_weights/"): value for name, value in found.items() if name not in weights
             and name.startswith("optimizer_w")}  # fmt: skip
    scalars = [name for name, value in state.items() if not value.shape]
    state = {name: value for name, value in state.items() if name not in scalars}
    return Oracle(
        "model.h5",
        weights,
        class_=type(loaded).__name__,
        parameters=loaded.count_params(),
        optimizer=Optimizer(optimizer, int(model.optimizer.iterations), state) if optimizer else None,
        optional=scalars,
        metadata={"keras_version": keras.__version__, "backend": "tensorflow"},
    )


def split(found: Tensors) -> tuple[Tensors, Tensors, list[str]]:
    """The model's datasets, the optimizer's, and its scalars."""
    state = {name: value for name, value in found.items() if name.startswith("optimizer/")}
    scalars = [name for name, value in state.items() if not value.shape]
    moments = {name: value for name, value in state.items() if name not in scalars}
    return {name: value for name, value in found.items() if name not in state}, moments, scalars


@writes("keras-h5/adam")
def _(folder: Path) -> Oracle:
    return legacy(folder, trained(), "adam")


@writes("keras-h5/sgd")
def _(folder: Path) -> Oracle:
    return legacy(folder, trained(keras.optimizers.SGD(0.1, momentum=0.9)), "sgd")


@writes("keras-h5/convolutional")
def _(folder: Path) -> Oracle:
    return legacy(folder, convolutional(), None)


@writes("keras-weights/adam")
def _(folder: Path) -> Oracle:
    model = trained()
    model.save_weights(folder / "model.weights.h5")
    trained().load_weights(folder / "model.weights.h5")
    weights, moments, scalars = split(datasets(folder / "model.weights.h5"))
    steps = int(model.optimizer.iterations)
    return Oracle("model.weights.h5", weights, optimizer=Optimizer("adam", steps, moments), optional=scalars)


@writes("keras-weights/convolutional")
def _(folder: Path) -> Oracle:
    convolutional().save_weights(folder / "model.weights.h5")
    return Oracle("model.weights.h5", datasets(folder / "model.weights.h5"))


@writes("keras-weights/sharded")
def _(folder: Path) -> Oracle:
    target = folder / "model"
    target.mkdir(exist_ok=True)
    model = convolutional()
    model.save_weights(target / "model.weights.json", max_shard_size=0.000005)
    convolutional().load_weights(target / "model.weights.json")
    files = sorted(target.glob("*.h5"))
    assert len(files) > 1
    return Oracle("model", {name: value for file in files for name, value in datasets(file).items()})


def archive(folder: Path, model: keras.Model, optimizer: str | None) -> Oracle:
    """The .keras zip."""
    model.save(folder / "model.keras")
    loaded = keras.models.load_model(folder / "model.keras")
    with zipfile.ZipFile(folder / "model.keras") as opened:
        found = datasets(io.BytesIO(opened.read("model.weights.h5")))
    weights, moments, scalars = split(found)
    return Oracle(
        "model.keras",
        weights,
        class_=type(loaded).__name__,
        parameters=loaded.count_params(),
        optimizer=Optimizer(optimizer, int(model.optimizer.iterations), moments) if optimizer else None,
        optional=scalars,
        metadata={"keras_version": keras.__version__},
    )


@writes("keras/adam")
def _(folder: Path) -> Oracle:
    return archive(folder, trained(), "adam")


@writes("keras/adamw")
def _(folder: Path) -> Oracle:
    return archive(folder, trained(keras.optimizers.AdamW(0.01)), "adamw")


@writes("keras/convolutional")
def _(folder: Path) -> Oracle:
    return archive(folder, convolutional(), None)


@writes("keras/nested")
def _(folder: Path) -> Oracle:
    keras.utils.clear_session()
    inner = keras.Sequential([keras.layers.Dense(4), keras.layers.LayerNormalization()], name="inner")
    tokens = keras.Input((6,), dtype="int32")
    x = keras.layers.Embedding(11, 4, name="tokens")(tokens)
    x = keras.layers.Bidirectional(keras.layers.LSTM(3), name="both")(x)
    model = randomise(keras.Model(tokens, keras.layers.Dense(2)(inner(x))))
    return archive(folder, model, None)


@writes("hdf5/layouts")
def _(folder: Path) -> Oracle:
    # Not Keras', but what h5py can write: chunks, filters, both byte orders, compact, a newer superblock.
    numbers = np.arange(600, dtype=np.float32).reshape(20, 30)
    with h5py.File(folder / "weights.h5", "w", libver="latest") as file:
        group = file.create_group("weights", track_order=True)
        group.create_dataset("contiguous", data=numbers)
        group.create_dataset("chunked", data=numbers, chunks=(7, 11))
        group.create_dataset("deflate", data=numbers, chunks=(8, 8), compression="gzip", shuffle=True)
        group.create_dataset("checksum", data=numbers, chunks=(8, 8), fletcher32=True)
        group.create_dataset("big", data=numbers.astype(">f8"))
        group.create_dataset("scalar", data=np.int64(7))
        group.create_dataset("empty", shape=(0, 3), dtype="f2")
        group.create_dataset("bool", data=numbers[0] > 3)
        group.create_dataset("extensible", data=numbers, maxshape=(None, 30), chunks=(4, 30))
        group.create_dataset("never_written", shape=(4, 4), chunks=(2, 2), fillvalue=1.5)
        for kind in ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"]:
            file.create_dataset(f"types/{kind}", data=np.abs(numbers[:2]).astype(kind))
    return Oracle("weights.h5", datasets(folder / "weights.h5"))
