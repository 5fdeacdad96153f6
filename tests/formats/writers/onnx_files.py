"""ONNX models: every way to hold a tensor."""

from collections.abc import Iterator
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from models import bert, resnet
from numpy_oracle import array
from oracle import Oracle, Tensors, writes

NUMBERS = np.arange(24, dtype=np.float32).reshape(4, 6) - 12


def model(tensors: list[TensorProto], nodes: list[onnx.NodeProto] | None = None, **graph: object) -> onnx.ModelProto:
    """A graph that returns its input, with the tensors beside it."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("input", "output")]
    nodes = [helper.make_node("Identity", ["input"], ["output"]), *(nodes or [])]
    body = helper.make_graph(nodes, "graph", [ends[0]], [ends[1]], initializer=tensors, **graph)
    made = helper.make_model(body, producer_name="weighthouse-tests", producer_version="1.2")
    helper.set_model_props(made, {"author": "Zoë"})
    return made


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and the graphs inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                if inner.ByteSize():
                    yield from graphs(inner)


def read(path: Path) -> Tensors:
    """What the library finds in a file, external data included."""
    found: Tensors = {}
    for graph in graphs(onnx.load(path).graph):
        for entry in graph.initializer:
            found[entry.name] = array(numpy_helper.to_array(entry))
        for sparse in graph.sparse_initializer:
            found[f"{sparse.values.name}.values"] = array(numpy_helper.to_array(sparse.values))
            found[f"{sparse.values.name}.indices"] = array(numpy_helper.to_array(sparse.indices))
        for node in graph.node:
            if node.op_type == "Constant":
                for attribute in node.attribute:
                    if attribute.name == "value":
                        found[node.output[0]] = array(numpy_helper.to_array(attribute.t))
    return found


FACTS = {"producer_name": "weighthouse-tests", "producer_version": "1.2", "author": "Zoë"}


def save(folder: Path, made: onnx.ModelProto) -> Oracle:
    """Writes one file."""
    onnx.save(made, folder / "model.onnx")
    return Oracle("model.onnx", read(folder / "model.onnx"), metadata=FACTS)


def values() -> Iterator[tuple[str, int, np.ndarray]]:
    """A matrix of every data type but strings."""
    for name, code in TensorProto.DataType.items():
        if name in {"UNDEFINED", "STRING"}:
            continue
        kind = helper.tensor_dtype_to_np_dtype(code)
        numbers = np.abs(NUMBERS) + 1 if name.startswith("U") or name == "FLOAT8E8M0" else NUMBERS
        if name in {"INT4", "UINT4", "INT2", "UINT2"}:
            numbers = np.arange(24).reshape(4, 6) % 2 ** (int(name[-1]) - 1)
        # An odd number of elements, so that packed types end inside a byte.
        yield name, code, numbers.astype(kind).reshape(-1)[:23]


@writes("onnx/raw")
def _(folder: Path) -> Oracle:
    tensors = [numpy_helper.from_array(value, name) for name, _, value in values()]
    tensors.append(numpy_helper.from_array(np.float32(2.5), "scalar"))
    tensors.append(numpy_helper.from_array(np.empty((0, 3), np.float32), "empty"))
    return save(folder, model(tensors))


@writes("onnx/typed")
def _(folder: Path) -> Oracle:
    # float_data, int32_data (also for half precision and for packed types), int64_data, double_data, uint64_data.
    tensors = [helper.make_tensor(name, code, value.shape, value) for name, code, value in values()]
    tensors.append(helper.make_tensor("STRING", TensorProto.STRING, [2], [b"a", "größe".encode()]))
    assert not any(entry.HasField("raw_data") for entry in tensors)
    return save(folder, model(tensors))


@writes("onnx/external")
def _(folder: Path) -> Oracle:
    target = folder / "model"
    target.mkdir(exist_ok=True)
    tensors = [numpy_helper.from_array(np.full((40, 16), number, np.float32), f"w{number}") for number in range(3)]
    tensors.append(numpy_helper.from_array(np.arange(40).astype(ml_dtypes.bfloat16), "half"))
    made = model([*tensors, numpy_helper.from_array(np.arange(3), "small")])
    onnx.save(made, target / "model.onnx", save_as_external_data=True, location="weights.bin", size_threshold=64)
    return Oracle("model/model.onnx", read(target / "model.onnx"), metadata=FACTS)


@writes("onnx/external-each")
def _(folder: Path) -> Oracle:
    target = folder / "model"
    target.mkdir(exist_ok=True)
    tensors = [numpy_helper.from_array(np.full((40, 16), number, np.float64), f"w{number}") for number in range(3)]
    onnx.save(
        model(tensors),
        target / "model.onnx",
        save_as_external_data=True,
        all_tensors_to_one_file=False,
        size_threshold=64,
    )
    return Oracle("model", read(target / "model.onnx"), metadata=FACTS)


@writes("onnx/subgraph")
def _(folder: Path) -> Oracle:
    branches = {}
    for branch in ("then_branch", "else_branch"):
        output = helper.make_tensor_value_info(f"{branch}_out", TensorProto.FLOAT, [3])
        weight = numpy_helper.from_array(np.full(3, len(branch), np.float32), f"{branch}_weight")
        node = helper.make_node("Identity", [f"{branch}_weight"], [f"{branch}_out"])
        branches[branch] = helper.make_graph([node], branch, [], [output], initializer=[weight])
    nodes = [
        helper.make_node("Constant", [], ["condition"], value=numpy_helper.from_array(np.array(True))),
        helper.make_node("If", ["condition"], ["chosen"], **branches),
    ]
    return save(folder, model([numpy_helper.from_array(NUMBERS, "weight")], nodes))


@writes("onnx/sparse")
def _(folder: Path) -> Oracle:
    entries = numpy_helper.from_array(np.array([1.5, -2.0], np.float32), "sparse_weight")
    places = numpy_helper.from_array(np.array([3, 17]), "sparse_weight_places")
    sparse = helper.make_sparse_tensor(entries, places, [4, 6])
    return save(folder, model([numpy_helper.from_array(NUMBERS, "weight")], sparse_initializer=[sparse]))


def exported(
    folder: Path, module: torch.nn.Module, inputs: dict[str, torch.Tensor], family: str, **options: object
) -> Oracle:
    """torch's own exporter that needs no further library."""
    path = folder / "model.onnx"
    torch.onnx.export(module.eval(), kwargs=inputs, f=path, dynamo=False, opset_version=17, **options)
    return Oracle("model.onnx", read(path), family=family, metadata={"producer_name": "pytorch"})


@writes("onnx/resnet")
def _(folder: Path) -> Oracle:
    # Without folding: norms stay apart from convolutions, and every weight keeps its name.
    options = {"do_constant_folding": False, "training": torch.onnx.TrainingMode.PRESERVE}
    return exported(folder, resnet(), {"pixel_values": torch.zeros(1, 3, 32, 32)}, "resnet", **options)


@writes("onnx/bert")
def _(folder: Path) -> Oracle:
    # With folding: transposed weights have made-up names.
    return exported(folder, bert(), {"input_ids": torch.ones(1, 4, dtype=torch.int64)}, "bert")
