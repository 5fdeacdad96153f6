"""Writes zarr arrays and OCDBT databases with TensorStore, as fixtures for `fixtures_arrays.rs`.

    pip install tensorstore numpy ml_dtypes
    python tensorstore_fixtures.py FOLDER
    WH_FIXTURES=FOLDER cargo nextest run -p weighthouse-format fixtures

They go where Orbax does not: trees of several levels, numbered manifests, values in files, shards of many chunks, turned
axes, both byte orders, every compression, chunks that are not stored.
"""

import hashlib
import itertools
import json
import sys
from pathlib import Path

import numpy as np
import tensorstore as ts

ROOT = Path(sys.argv[1]) / "tensorstore" / "orbax"
NAMES = {"float32": "F32", "float64": "F64", "bfloat16": "BF16", "uint16": "U16", "int64": "I64", "complex64": "C64", "bool": "BOOL"}


def values(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Numbers that are all different, with a hole of zeros at the end."""
    numbers = np.arange(int(np.prod(shape)), dtype=np.float64).reshape(shape)
    numbers[tuple(slice(extent * 3 // 4, None) for extent in shape)] = 0
    return numbers.astype(ts.dtype(dtype).numpy_dtype)


def expected(array: np.ndarray) -> dict:
    little = np.ascontiguousarray(array)
    return {
        "dtype": NAMES[array.dtype.name],
        "shape": list(array.shape),
        "sha256": hashlib.sha256(little.tobytes()).hexdigest(),
        "dequantized_sha256": None,
    }


def fixture(name: str, kvstore: dict, arrays: dict[str, tuple[dict, np.ndarray]]) -> None:
    """Writes the arrays, and what is in them."""
    folder = ROOT / name
    (folder / "model").mkdir(parents=True)
    context = ts.Context()
    for key, (spec, array) in arrays.items():
        store = dict(kvstore)
        if store["driver"] == "ocdbt":
            store |= {"base": f"file://{folder}/model/", "path": f"{key}/"}
        else:
            store |= {"path": f"{folder}/model/{key}/"}
        kind = ts.dtype(array.dtype)
        if spec["driver"] == "zarr3":
            spec["metadata"]["data_type"] = kind.name
        opened = ts.open(
            {**spec, "kvstore": store}, create=True, context=context, shape=array.shape, dtype=kind
        ).result()
        opened.write(array).result()
    oracle = {
        "fixture": f"orbax/{name}",
        "target": "model",
        "tensors": {key: expected(array) for key, (_, array) in arrays.items()},
        "family": None,
        "metadata": {},
        "optimizer": None,
        "optional": [],
    }
    (folder / "oracle.json").write_text(json.dumps(oracle, indent=1))


def zarr2(chunks: list[int], **metadata: object) -> dict:
    return {"driver": "zarr", "metadata": {"chunks": chunks, **metadata}}


def zarr3(shape: list[int], codecs: list[dict], **metadata: object) -> dict:
    grid = {"name": "regular", "configuration": {"chunk_shape": shape}}
    return {"driver": "zarr3", "metadata": {"chunk_grid": grid, "codecs": codecs, **metadata}}


def sharded(chunk: list[int], codecs: list[dict], **settings: object) -> list[dict]:
    inner = {"chunk_shape": chunk, "codecs": codecs, **settings}
    return [{"name": "sharding_indexed", "configuration": inner}]


def codec(name: str, **settings: object) -> dict:
    return {"name": name, "configuration": settings} if settings else {"name": name}


FILES = {"driver": "file"}
compressors = {
    "none": None,
    "zlib": {"id": "zlib", "level": 6},
    "zstd": {"id": "zstd", "level": 3},
    "blosc-lz4": {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1},
    "blosc-zstd": {"id": "blosc", "cname": "zstd", "clevel": 5, "shuffle": 0},
    "blosc-blosclz": {"id": "blosc", "cname": "blosclz", "clevel": 5, "shuffle": 1},
    "blosc-zlib": {"id": "blosc", "cname": "zlib", "clevel": 5, "shuffle": 2},
}
kinds = ["<f4", ">f4", "<c8", ">i8", ">u2", "|b1", "bfloat16"]
names = {"<f4": "float32", ">f4": "float32", "<c8": "complex64", ">i8": "int64", ">u2": "uint16", "|b1": "bool"}
fixture(
    "zarr2-all",
    FILES,
    {
        f"{name}.{at}.{order}": (
            zarr2([5, 7], compressor=compressor, dtype=kind, order=order, dimension_separator="./"[at % 2],
                  fill_value={"<c8": None, "|b1": False}.get(kind, 0)),
            values((23, 17), names.get(kind, kind)),
        )
        for (name, compressor), (at, kind), order in itertools.product(compressors.items(), enumerate(kinds), "CF")
    },
)
chains = {
    "bytes": [codec("bytes", endian="little")],
    "big": [codec("bytes", endian="big"), codec("crc32c")],
    "turned": [codec("transpose", order=[2, 0, 1]), codec("bytes", endian="little"), codec("zstd", level=3)],
    "twice": [codec("transpose", order=[1, 2, 0]), codec("transpose", order=[0, 2, 1]), codec("bytes", endian="big"),
              codec("gzip", level=6)],
    "blosc": [codec("bytes", endian="little"),
              codec("blosc", cname="lz4", clevel=5, shuffle="shuffle", typesize=4, blocksize=0)],
}
index = [codec("bytes", endian="little"), codec("crc32c")]
fixture(
    "zarr3-all",
    FILES,
    {f"plain.{name}": (zarr3([4, 5, 6], chain, fill_value=0.0), values((9, 11, 13), "float32")) for name, chain in chains.items()}
    | {
        f"sharded.{name}.{place}": (
            zarr3([4, 10, 6], sharded([2, 5, 3], chain, index_codecs=index, index_location=place), fill_value=0.0),
            values((9, 11, 13), "float32"),
        )
        for (name, chain), place in itertools.product(chains.items(), ("start", "end"))
    }
    | {"keys": (zarr3([4, 5], [codec("bytes", endian="little")], fill_value=0,
                      chunk_key_encoding=codec("v2", separator="/")), values((9, 11), "bfloat16")),
       "scalar": (zarr3([], [codec("bytes", endian="little")], fill_value=0.0), np.array(2.5, np.float32))},
)
many = {f"layer_{at:03}.weight": (zarr2([3, 4], compressor=None), values((6, 7), "float32")) for at in range(60)}
for name, config in {
    "ocdbt-deep": {"max_decoded_node_bytes": 400, "max_inline_value_bytes": 8},
    "ocdbt-files": {"max_decoded_node_bytes": 1000, "max_inline_value_bytes": 0, "compression": None},
    "ocdbt-numbered": {"manifest_kind": "numbered", "max_decoded_node_bytes": 2000, "version_tree_arity_log2": 1},
}.items():
    fixture(name, {"driver": "ocdbt", "config": config}, many)
