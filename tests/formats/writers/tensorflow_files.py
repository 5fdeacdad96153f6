"""TensorFlow: checkpoints of both versions, SavedModel, TFLite.

A tensor is called by its key in the checkpoint, without the ending `/.ATTRIBUTES/VARIABLE_VALUE`; a slot in the key
`P/.OPTIMIZER_SLOT/O/S` is `P.S` of the optimizer, as are `P/Adam` and `P/Adam_1` of the first version's graphs (`P.m`,
`P.v`). Keras' optimizer has no slots but a list, `optimizer/_variables/N`: the library's names stay.
"""

from collections.abc import Iterable
from pathlib import Path

import keras
import ml_dtypes
import numpy as np
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema

from numpy_oracle import array
from oracle import Optimizer, Oracle, Tensors, writes

V1 = tf.compat.v1
SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
SLOT = "/.OPTIMIZER_SLOT/optimizer/"
OBJECTS = "_CHECKPOINTABLE_OBJECT_GRAPH"
NUMBERS = np.arange(24, dtype=np.float32).reshape(4, 6) - 12


def read(prefix: Path) -> Tensors:
    """Every variable of a checkpoint."""
    reader = tf.train.load_checkpoint(str(prefix))
    found = {name: reader.get_tensor(name) for name in sorted(reader.get_variable_to_shape_map())}
    return {name.removesuffix(SUFFIX): array(np.asarray(value)) for name, value in found.items() if name != OBJECTS}


class Net(tf.Module):
    """Two layers and a list."""

    def __init__(self) -> None:
        super().__init__()
        self.w = tf.Variable(tf.random.stateless_normal((3, 4), (7, 1)), name="w")
        self.b = tf.Variable(tf.random.stateless_normal((4,), (7, 2)), name="b")
        self.layers = [tf.Variable(tf.random.stateless_normal((2,), (7, 3)), name="scale")]

    @tf.function(input_signature=[tf.TensorSpec((None, 3))])
    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return (x @ self.w + self.b) * tf.reduce_sum(self.layers[0])

    def trained(self) -> V1.train.AdamOptimizer:
        """Takes a step and returns the optimizer, which keeps slots."""
        optimizer = V1.train.AdamOptimizer(0.1)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(self(tf.ones((2, 3))) ** 2)
        variables = [self.w, self.b, self.layers[0]]
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return optimizer


def slots(found: Tensors) -> tuple[Tensors, Tensors, list[str]]:
    """The model's tensors, the optimizer's, and what is neither."""
    moments = {name.replace(SLOT, "."): value for name, value in found.items() if SLOT in name}
    other = [name for name in found if name.startswith("optimizer/")]
    model = {name: value for name, value in found.items() if SLOT not in name and name not in other}
    return model, moments, [*other, OBJECTS]


@writes("tensorflow/checkpoint")
def _(folder: Path) -> Oracle:
    net = Net()
    checkpoint = tf.train.Checkpoint(model=net, optimizer=net.trained(), step=tf.Variable(3, dtype=tf.int64))
    prefix = checkpoint.save(str(folder / "model/ckpt"))
    model, moments, optional = slots(read(Path(prefix)))
    assert len(moments) == 6
    return Oracle("model", model, optimizer=Optimizer("adam", None, moments), optional=optional)


@writes("tensorflow/index")
def _(folder: Path) -> Oracle:
    net = Net()
    tf.train.Checkpoint(model=net).write(str(folder / "ckpt"))
    return Oracle("ckpt.index", read(folder / "ckpt"), optional=[OBJECTS])


@writes("tensorflow/keras-checkpoint")
def _(folder: Path) -> Oracle:
    from writers.keras_files import trained

    model = trained()
    prefix = tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(str(folder / "model/ckpt"))
    found = read(Path(prefix))
    steps = int(model.optimizer.iterations.numpy())
    own = {name: value for name, value in found.items() if name.startswith("optimizer/_variables/")}
    scalars = ["optimizer/_iterations", "optimizer/_learning_rate"]
    rest = {name: value for name, value in found.items() if name not in own and name not in scalars}
    return Oracle("model", rest, optimizer=Optimizer("adam", steps, own), optional=[*scalars, OBJECTS])


@writes("tensorflow/data-shards")
def _(folder: Path) -> Oracle:
    values = {f"v{number}": tf.Variable(tf.fill((40, 20), float(number))) for number in range(4)}
    policy = tf.train.experimental.MaxShardSizePolicy(4000)
    options = tf.train.CheckpointOptions(experimental_sharding_callback=policy)
    tf.train.Checkpoint(**values).write(str(folder / "model/ckpt"), options)
    assert len(list((folder / "model").glob("*.data-*"))) > 2
    return Oracle("model", read(folder / "model/ckpt"), optional=[OBJECTS])


@writes("tensorflow/dtypes")
def _(folder: Path) -> Oracle:
    kinds: Iterable[tf.DType] = (
        tf.bool, tf.uint8, tf.int8, tf.uint16, tf.int16, tf.uint32, tf.int32, tf.uint64, tf.int64, tf.float16,
        tf.bfloat16, tf.float32, tf.float64, tf.complex64, tf.complex128,
        tf.dtypes.experimental.float8_e4m3fn, tf.dtypes.experimental.float8_e5m2,
    )  # fmt: skip
    values = {kind.name: tf.Variable(np.abs(NUMBERS).astype(kind.as_numpy_dtype), dtype=kind) for kind in kinds} | {
        "string": tf.Variable(["a", "größe", "x" * 300]),
        "scalar": tf.Variable(2.5),
        "empty": tf.Variable(tf.zeros((0, 3))),
    }
    tf.train.Checkpoint(**values).write(str(folder / "model/ckpt"))
    return Oracle("model", read(folder / "model/ckpt"), optional=[OBJECTS])


def session(folder: Path, *, version: int, partitions: bool = False) -> Tensors:
    """A graph of the first version with a trained BERT's names: saved, and what its saver restores."""
    prefix = folder / "model/bert.ckpt"
    prefix.parent.mkdir(exist_ok=True)
    with tf.Graph().as_default(), V1.Session() as run:
        shapes = {
            "bert/embeddings/word_embeddings": (30, 8),
            "bert/embeddings/LayerNorm/gamma": (8,),
            "bert/encoder/layer_0/attention/self/query/kernel": (8, 8),
            "bert/encoder/layer_0/attention/self/query/bias": (8,),
        }
        cut = V1.fixed_size_partitioner(3) if partitions else None
        start = V1.random_normal_initializer(seed=7)
        variables = [V1.get_variable(name, shape, initializer=start, partitioner=cut) for name, shape in shapes.items()]
        step = V1.train.get_or_create_global_step()
        loss = sum(tf.reduce_sum(tf.convert_to_tensor(variable) ** 2) for variable in variables)
        train = V1.train.AdamOptimizer(0.1).minimize(loss, global_step=step)
        run.run(V1.global_variables_initializer())
        run.run(train)
        saver = V1.train.Saver(write_version=version)
        saver.save(run, str(prefix))
        run.run(V1.global_variables_initializer())
        saver.restore(run, str(prefix))
        return join({variable: run.run(variable) for variable in V1.global_variables()})


def join(values: dict[V1.Variable, np.ndarray]) -> Tensors:
    """Puts the pieces of partitioned variables together."""
    whole: dict[str, np.ndarray] = {}
    for variable, value in values.items():
        piece = variable._save_slice_info
        if piece is None:
            whole[variable.op.name] = value
            continue
        full = whole.setdefault(piece.full_name, np.zeros(piece.full_shape, value.dtype))
        full[tuple(slice(at, at + size) for at, size in zip(piece.var_offset, piece.var_shape, strict=True))] = value
    return {name: array(np.asarray(value)) for name, value in whole.items()}


def graph(found: Tensors) -> Oracle:
    """A checkpoint by names of the graph."""
    slots = {"/Adam": ".m", "/Adam_1": ".v"}
    moments = {name.removesuffix(end) + slot: value for name, value in found.items() for end, slot in slots.items()
               if name.endswith(end)}  # fmt: skip
    model = {name: value for name, value in found.items() if not name.endswith(tuple(slots))}
    powers = [model.pop(name) and name for name in ("beta1_power", "beta2_power")]
    return Oracle(
        "model",
        model,
        family="bert",
        optimizer=Optimizer("adam", 1, moments),
        optional=powers,
        metadata={"global_step": 1},
    )


@writes("tensorflow/graph-names")
def _(folder: Path) -> Oracle:
    return graph(session(folder, version=V1.train.SaverDef.V2))


@writes("tensorflow/partitioned")
def _(folder: Path) -> Oracle:
    return graph(session(folder, version=V1.train.SaverDef.V2, partitions=True))


@writes("tensorflow/version-1")
def _(folder: Path) -> Oracle:
    return graph(session(folder, version=V1.train.SaverDef.V1))


@writes("tensorflow/version-1-partitioned")
def _(folder: Path) -> Oracle:
    return graph(session(folder, version=V1.train.SaverDef.V1, partitions=True))


@writes("saved-model/module")
def _(folder: Path) -> Oracle:
    tf.saved_model.save(Net(), str(folder / "model"))
    loaded = tf.saved_model.load(str(folder / "model"))
    assert loaded.w.shape == (3, 4)
    return Oracle("model", read(folder / "model/variables/variables"), optional=[OBJECTS])


@writes("saved-model/keras")
def _(folder: Path) -> Oracle:
    from writers.keras_files import trained

    trained().export(str(folder / "model"), verbose=False)
    return Oracle("model", read(folder / "model/variables/variables"), optional=[OBJECTS])


def tflite(path: Path) -> Tensors:
    """Constants of a file by the library's schema; the interpreter must give the same."""
    data = path.read_bytes()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    interpreter = tf.lite.Interpreter(model_content=data, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    found: Tensors = {}
    for place, entry in enumerate(model.subgraphs[0].tensors):
        if model.buffers[entry.buffer].data is None or not len(model.buffers[entry.buffer].data):
            continue
        value = interpreter.get_tensor(place)
        if entry.type == schema.TensorType.INT4:
            value = value.astype(ml_dtypes.int4)
        found[entry.name.decode()] = array(value)
    return found


def convert(folder: Path, *optimizations: tf.lite.Optimize, half: bool = False) -> Oracle:
    """A converted Keras model."""
    from writers.keras_files import convolutional

    converter = tf.lite.TFLiteConverter.from_keras_model(convolutional())
    converter.optimizations = list(optimizations)
    if half:
        converter.target_spec.supported_types = [tf.float16]
    (folder / "model.tflite").write_bytes(converter.convert())
    return Oracle("model.tflite", tflite(folder / "model.tflite"))


@writes("tflite/float")
def _(folder: Path) -> Oracle:
    return convert(folder)


@writes("tflite/half")
def _(folder: Path) -> Oracle:
    return convert(folder, tf.lite.Optimize.DEFAULT, half=True)


@writes("tflite/quantised")
def _(folder: Path) -> Oracle:
    return convert(folder, tf.lite.Optimize.DEFAULT)


assert keras.backend.backend() == "tensorflow"
