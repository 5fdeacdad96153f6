"""Safetensors: the header, the extents, and the index of shards."""

import json
import os
from pathlib import Path

from attacks.build import EVIL_NAMES, Data, attack, entry, safetensors, single

FILE = "model.safetensors"
GOOD = {"w": entry([2], 0, 8)}


def one(name: str, data: Data, **options: bool) -> None:
    """A file of this format."""
    single(f"safetensors/{name}", data, file=FILE, **options)


one("header-length-huge", safetensors(GOOD, bytes(8), length=2**63))
one("header-length-of-file", safetensors(GOOD, bytes(8), length=10**6))
one("header-length-zero", safetensors("", bytes(8)))
one("header-100-mb-in-small-file", safetensors(GOOD, bytes(8), length=100_000_000))
one("header-nested", lambda: safetensors('{"w":' + "[" * 200_000 + "]" * 200_000 + "}"))
one("header-nested-objects", lambda: safetensors('{"a":' * 100_000 + "1" + "}" * 100_000))
one("header-not-an-object", safetensors("[1, 2]"))
one("header-not-utf8", b"\x04\0\0\0\0\0\0\0{\xff\xfe}")
one("header-cut", safetensors('{"w": {"dtype": "F32", "sha'))
one("header-then-more", safetensors(json.dumps(GOOD) + "{}", bytes(8)))
one("many-tensors", lambda: safetensors({f"{place:07}": entry([0], 0, 0) for place in range(150_000)}))
one("long-name", lambda: safetensors({"n" * 3_000_000: entry([2], 0, 8)}, bytes(8)))
one("many-axes", lambda: safetensors({"w": entry([1] * 100_000 + [2], 0, 8)}, bytes(8)))
one("overlap", safetensors({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, bytes(12)))
one("same-bytes-twice", safetensors({"a": entry([2], 0, 8), "b": entry([2], 0, 8)}, bytes(8)))
one("gap", safetensors({"a": entry([2], 0, 8), "b": entry([2], 16, 24)}, bytes(24)))
one("gap-at-start", safetensors({"a": entry([2], 8, 16)}, bytes(16)))
one("trailing", safetensors(GOOD, bytes(800)))
one("past-the-end", safetensors({"w": entry([2**40], 0, 2**42)}, bytes(8)))
one("backwards", safetensors({"w": entry([2], 8, 0)}, bytes(8)))
one("negative-offset", safetensors({"w": entry([2], -8, 0)}, bytes(8)))
one("negative-extent", safetensors({"w": entry([-2], 0, 8)}, bytes(8)))
one("fractional-extent", safetensors({"w": entry([2.5], 0, 8)}, bytes(8)))
one("extent-of-forty-digits", safetensors({"w": entry([10**40], 0, 8)}, bytes(8)))
one("shape-overflow", safetensors({"w": entry([2**32, 2**32, 2**32], 0, 8)}, bytes(8)))
one("shape-overflow-to-nothing", safetensors({"w": entry([2**32, 2**32], 0, 0)}))
one("bits-overflow", safetensors({"w": entry([2**61], 0, 0, "F64")}))
one("size-mismatch", safetensors({"w": entry([3], 0, 8)}, bytes(8)))
one("half-a-byte", safetensors({"w": entry([3], 0, 1, "F4")}, bytes(1)))
one("unknown-dtype", safetensors({"w": entry([2], 0, 8, "F33")}, bytes(8)))
one("metadata-not-strings", safetensors({"__metadata__": {"a": 1}, **GOOD}, bytes(8)))
one("metadata-nested", safetensors({"__metadata__": {"a": {"b": {}}}, **GOOD}, bytes(8)))
ONCE = '"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'
AGAIN = '"w":{"dtype":"I32","shape":[2],"data_offsets":[0,8]}'
ESCAPED = '"\\u0077":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}'
one("duplicate-keys", safetensors(f"{{{ONCE},{AGAIN}}}", bytes(8)))
one("duplicate-keys-by-escape", safetensors(f"{{{ONCE},{ESCAPED}}}", bytes(16)))
one("duplicate-fields", safetensors(f"{{{ONCE}}}".replace('"shape":[2]', '"shape":[2],"shape":[1,2]'), bytes(8)))
one("lone-surrogate", safetensors('{"\\ud800":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', bytes(8)))
one("empty-file", b"")
one("seven-bytes", b"\x02\0\0\0\0\0\0")
for word, evil in EVIL_NAMES.items():
    one(f"name-{word}", safetensors({evil: entry([2], 0, 8)}, bytes(8)), names=True)
    one(f"metadata-{word}", safetensors({"__metadata__": {evil: evil}, **GOOD}, bytes(8)), names=True)


def sharded(folder: Path, weights: dict[str, str], files: dict[str, bytes]) -> str:
    """A folder with an index."""
    target = folder / "model"
    target.mkdir()
    for name, data in files.items():
        (target / name).write_bytes(data)
    index = {"metadata": {"total_size": 8}, "weight_map": weights}
    (target / "model.safetensors.index.json").write_text(json.dumps(index))
    return "model"


SHARD = "model-00001-of-00001.safetensors"
WEIGHTS = safetensors(GOOD, bytes(8))


@attack("safetensors/index-traversal")
def _(folder: Path) -> str:
    (folder / "secret.safetensors").write_bytes(WEIGHTS)
    return sharded(folder, {"w": "../secret.safetensors"}, {SHARD: WEIGHTS})


@attack("safetensors/index-absolute")
def _(folder: Path) -> str:
    (folder / "secret.safetensors").write_bytes(WEIGHTS)
    return sharded(folder, {"w": str((folder / "secret.safetensors").absolute())}, {SHARD: WEIGHTS})


@attack("safetensors/index-link-outside")
def _(folder: Path) -> str:
    (folder / "secret.safetensors").write_bytes(WEIGHTS)
    sharded(folder, {"w": SHARD}, {})
    os.symlink("../secret.safetensors", folder / "model" / SHARD)
    return "model"


@attack("safetensors/index-missing-shard")
def _(folder: Path) -> str:
    return sharded(folder, {"w": SHARD, "v": "model-00002-of-00002.safetensors"}, {SHARD: WEIGHTS})


@attack("safetensors/index-wrong-shard")
def _(folder: Path) -> str:
    return sharded(folder, {"w": SHARD, "not_there": SHARD}, {SHARD: WEIGHTS})


@attack("safetensors/index-same-tensor-twice")
def _(folder: Path) -> str:
    other = "model-00002-of-00002.safetensors"
    return sharded(folder, {"w": SHARD}, {SHARD: WEIGHTS, other: WEIGHTS})


@attack("safetensors/index-names-itself")
def _(folder: Path) -> str:
    return sharded(folder, {"w": "model.safetensors.index.json"}, {SHARD: WEIGHTS})


@attack("safetensors/index-nested")
def _(folder: Path) -> str:
    sharded(folder, {}, {SHARD: WEIGHTS})
    (folder / "model/model.safetensors.index.json").write_text('{"weight_map":' + "[" * 300_000)
    return "model"


@attack("safetensors/index-not-an-object")
def _(folder: Path) -> str:
    sharded(folder, {}, {SHARD: WEIGHTS})
    (folder / "model/model.safetensors.index.json").write_text('{"weight_map": {"w": 7, "v": null}}')
    return "model"


@attack("safetensors/config-nested")
def _(folder: Path) -> str:
    target = folder / "model"
    target.mkdir()
    (target / FILE).write_bytes(WEIGHTS)
    (target / "config.json").write_text('{"a":' * 200_000)
    return "model"
