"""NumPy's files, Flax's msgpack, and zarr below Orbax."""

import json
import os
import struct
from pathlib import Path
from typing import Any

from attacks.build import EVIL_NAMES, PAYLOAD, PROTO2, STOP, Data, Entry, archive, attack, single


def npy(header: str | bytes, data: bytes = bytes(32), *, version: int = 1, length: int | None = None) -> bytes:
    """An array with the header's text."""
    raw = header.encode() if isinstance(header, str) else header
    count = len(raw) if length is None else length
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", count) + raw + data


def head(shape: str = "(4,)", descr: str = "'<f8'", order: str = "False") -> str:
    """The usual header."""
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


def one(name: str, data: Data) -> None:
    """An npy file."""
    single(f"npy/{name}", data, file="weights.npy")


one("header-outside", npy(head(), length=60_000))
one("header-4-gb", npy(head(), version=2, length=2**32 - 1))
one("header-empty", npy(""))
one("header-cut", npy("{'descr': '<f8', 'shape': (4"))
one("header-nested", lambda: npy(head("(" * 1_000_000), version=2))
one("header-nested-descr", lambda: npy(head(descr="[('a', " * 200_000), version=2))
one("header-unary", lambda: npy(head("(" + "-" * 1_000_000 + "1,)"), version=2))
one("header-code", npy(head(descr="__import__('os').mkdir('pwned')")))
one("header-code-in-shape", npy(head("(__import__('os').mkdir('pwned'),)")))
one("header-not-a-dictionary", npy("[1, 2, 3]"))
one("header-without-order", npy("{'descr': '<f8', 'shape': (4,)}"))
one("header-key-twice", npy("{'descr': '<f8', 'fortran_order': False, 'shape': (4,), 'shape': (1,)}"))
one("header-not-latin", npy(head().encode() + b"\xff\xfe"))
one("version-9", npy(head(), version=9))
one("shape-overflow", npy(head("(4294967296, 4294967296, 4294967296)")))
one("shape-overflow-to-nothing", npy(head("(4294967296, 4294967296)", "'|u1'"), b""))
one("shape-outside", npy(head("(1099511627776,)")))
one("shape-negative", npy(head("(-4,)")))
one("shape-fraction", npy(head("(4.5,)")))
one("shape-digits", lambda: npy(head(f"({'9' * 500_000},)"), version=2))
one("shape-true", npy(head("(True, 4)")))
one("shape-many-axes", lambda: npy(head(f"({'1, ' * 300_000}4)"), version=2))
one("trailing", npy(head(), bytes(5000)))
one("cut", npy(head(), bytes(5)))
one("descr-unknown", npy(head(descr="'<q9'")))
one("descr-wide", npy(head(descr="'<f9999999999'")))
one("descr-void-huge", npy(head(descr="'|V18446744073709551616'")))
one("descr-object", npy(head(descr="'|O'"), PROTO2 + PAYLOAD + STOP))
one("descr-fields-overflow", npy(head(descr="[('a', '<f8', (4294967296, 4294967296, 4294967296))]")))
one("descr-fields-twice", npy(head(descr="[('a', '<f8'), ('a', '<f4')]")))
one("descr-many-fields", lambda: npy(head(descr=str([(f"f{place}", "<f8") for place in range(50_000)])), version=2))
one("descr-fields-object", npy(head(descr="[('a', '|O')]"), PROTO2 + PAYLOAD + STOP))
for word, evil in EVIL_NAMES.items():
    single(
        f"npy/field-{word}",
        npy(head("(1,)", repr([(evil, "<f8")])), bytes(8), version=3),
        file="weights.npy",
        names=True,
    )

GOOD = npy(head())
for name, data in {
    "deflate-bomb": lambda: archive([Entry(b"w.npy", npy(head("(37500000,)"), bytes(300_000_000)), method=8)]),
    "deflate-header-bomb": lambda: archive([Entry(b"w.npy", npy(b" " * 300_000_000, version=2), method=8)]),
    "deflate-shape-bomb": lambda: archive(
        [Entry(b"w.npy", npy(head("(137438953472,)"), bytes(100_000_000)), method=8)]
    ),
    "size-lies": archive([Entry(b"w.npy", GOOD, size=2**31, stored=2**31)]),
    "name-twice": archive([Entry(b"w.npy", GOOD), Entry(b"w.npy", npy(head("(2, 2)")))]),
    "not-an-array": archive([Entry(b"w.npy", GOOD), Entry(b"v.npy", b"hello")]),
    "crc-wrong": archive([Entry(b"w.npy", GOOD, crc=1)]),
    "method-lies": archive([Entry(b"w.npy", GOOD, directory={"method": 8})]),
    "deflate-garbage": archive(
        [Entry(b"w.npy", GOOD, directory={"method": 8}), Entry(b"v.npy", b"\xff" * 90, method=8)]
    ),
    "object": archive([Entry(b"w.npy", npy(head(descr="'|O'"), PROTO2 + PAYLOAD + STOP))]),
    "many": lambda: archive([Entry(b"w%d.npy" % place, GOOD) for place in range(60_000)]),
}.items():
    single(f"npz/{name}", data, file="weights.npz")
for word, evil in EVIL_NAMES.items():
    single(
        f"npz/name-{word}", archive([Entry(f"{evil}.npy".encode(), GOOD, flags=0x800)]), file="weights.npz", names=True
    )


# msgpack.


def text(value: str) -> bytes:
    """A string."""
    data = value.encode()
    return b"\xdb" + struct.pack(">I", len(data)) + data


def mapping(**items: bytes) -> bytes:
    """A map."""
    return b"\xdf" + struct.pack(">I", len(items)) + b"".join(text(key) + value for key, value in items.items())


def extension(kind: int, data: bytes, length: int | None = None) -> bytes:
    """An extension with its length."""
    return b"\xc9" + struct.pack(">IB", len(data) if length is None else length, kind) + data


def number(value: int) -> bytes:
    """An unsigned integer."""
    return b"\xcf" + struct.pack(">Q", value)


def binary(data: bytes) -> bytes:
    """Bytes."""
    return b"\xc6" + struct.pack(">I", len(data)) + data


def array(shape: tuple[int, ...] = (4,), kind: str = "float32", data: bytes = bytes(16)) -> bytes:
    """Flax's array."""
    extents = b"\xdd" + struct.pack(">I", len(shape)) + b"".join(map(number, shape))
    return extension(1, b"\x93" + extents + text(kind) + binary(data))


def flax(name: str, data: Data) -> None:
    """A file of Flax."""
    single(f"flax/{name}", data, file="model.msgpack")


flax("map-count-huge", b"\xdf\xff\xff\xff\xff" + text("w") + array())
flax("array-count-huge", mapping(w=b"\xdd\xff\xff\xff\xff\1"))
flax("string-outside", mapping(w=b"\xdb\xff\xff\xff\xffabc"))
flax("binary-outside", mapping(w=b"\xc6\xff\xff\xff\xffabc"))
flax("extension-outside", mapping(w=extension(1, b"\x93", 2**32 - 1)))
flax("extension-unknown", mapping(w=extension(77, b"abc"), v=array()))
flax("extension-negative", mapping(w=extension(0xFF, bytes(12)), v=array()))
flax("nested-maps", lambda: b"\x81\xa1a" * 1_000_000 + b"\xc0")
flax("nested-arrays", lambda: mapping(w=b"\x91" * 2_000_000 + b"\xc0"))
flax("nested-extensions", lambda: mapping(w=_nest(extension, 200)))
flax("shape-overflow", mapping(w=array((2**40, 2**40))))
flax("shape-overflow-to-nothing", mapping(w=array((2**32, 2**32), data=b"")))
flax("shape-disagrees", mapping(w=array((5,))))
flax("dtype-unknown", mapping(w=array(kind="float33")))
flax("dtype-object", mapping(w=array(kind="object")))
flax("not-an-array", mapping(w=extension(1, b"\x92\1\2")))
flax("key-twice", b"\x82\xa1w" + array() + b"\xa1w" + array((2, 2)))
flax("key-number", b"\x82\1" + array() + b"\x90" + array())
flax("trailing", mapping(w=array()) + bytes(1000))
flax("cut", mapping(w=array())[:-5])
flax("never-used-byte", mapping(w=b"\xc1", v=array()))
flax("laughs", lambda: mapping(**{f"k{place}": b"\x90" for place in range(600_000)}))


def _nest(wrap: Any, depth: int) -> bytes:
    data = b"\xc0"
    for _ in range(depth):
        data = wrap(1, b"\x93" + data + b"\xa1a\xc4\0")
    return data


def pieces(shape: tuple[int, ...], chunks: dict[str, bytes]) -> bytes:
    """An array in chunks."""
    extents = {f"{place}": number(extent) for place, extent in enumerate(shape)}
    fields = {"__msgpack_chunked_array__": b"\xc3", "shape": mapping(**extents), "chunks": mapping(**chunks)}
    return mapping(w=mapping(**fields))


flax("chunks-missing", pieces((400,), {"0": array()}))
flax("chunks-shape-overflow", pieces((2**40, 2**40), {"0": array()}))
flax("chunks-none", pieces((4,), {}))
flax("chunks-sparse-names", pieces((4,), {"99999999": array()}))
for word, evil in EVIL_NAMES.items():
    single(f"flax/name-{word}", mapping(**{evil: array()}), file="model.msgpack", names=True)


# Orbax.

ZARRAY = {
    "zarr_format": 2, "shape": [4], "chunks": [4], "dtype": "<f4", "compressor": None, "fill_value": None, "order": "C",
    "filters": None, "dimension_separator": ".",
}  # fmt: skip


def orbax(
    folder: Path, leaf: str = "w", zarray: Any = None, chunk: bytes | None = bytes(16), key: str | None = None
) -> str:
    """A folder with one leaf in zarr."""
    target = folder / "model"
    (target / leaf).mkdir(parents=True)
    name = leaf if key is None else key
    tree = {
        f"('{name}',)": {
            "key_metadata": [{"key": name, "key_type": 2}],
            "value_metadata": {"value_type": "jax.Array", "skip_deserialize": False},
        }
    }
    (target / "_METADATA").write_text(json.dumps({"tree_metadata": tree, "use_ocdbt": False, "use_zarr3": False}))
    (target / "_CHECKPOINT_METADATA").write_text(json.dumps({"item_handlers": "x", "metrics": {}}))
    body = zarray if isinstance(zarray, str) else json.dumps(ZARRAY | (zarray or {}))
    (target / leaf / ".zarray").write_text(body)
    if chunk is not None:
        (target / leaf / "0").write_bytes(chunk)
    return "model"


def leaf(name: str, **options: Any) -> None:
    """Registers such a folder."""
    attack(f"orbax/{name}")(lambda folder: orbax(folder, **options))


leaf("fill-bomb", zarray={"shape": [2**42], "chunks": [2**20], "fill_value": 1.0}, chunk=None)
leaf("chunks-tiny", zarray={"shape": [2**34], "chunks": [1]}, chunk=None)
leaf("chunks-zero", zarray={"chunks": [0]})
leaf("chunks-negative", zarray={"chunks": [-4]})
leaf("chunks-huge", zarray={"chunks": [2**62]})
leaf("axes-disagree", zarray={"chunks": [2, 2]})
leaf("shape-overflow", zarray={"shape": [2**40, 2**40], "chunks": [2**40, 2**40]}, chunk=None)
leaf("shape-negative", zarray={"shape": [-4]})
leaf("chunk-short", chunk=bytes(3))
leaf("chunk-long", chunk=bytes(5000))
leaf("codec-unknown", zarray={"compressor": {"id": "evil"}})
leaf("filter-unknown", zarray={"filters": [{"id": "pickle"}]}, chunk=PROTO2 + PAYLOAD + STOP)
leaf("dtype-object", zarray={"dtype": "|O"})
leaf("zstd-garbage", zarray={"compressor": {"id": "zstd", "level": 1}}, chunk=b"\x28\xb5\x2f\xfd" + b"\xff" * 60)
leaf("zstd-claims-much", zarray={"compressor": {"id": "zstd", "level": 1}},
     chunk=bytes.fromhex("28b52ffde0ffffffffffffff7f") + b"\1\0\0" + bytes(20))  # fmt: skip
leaf("zstd-bomb", zarray={"compressor": {"id": "zstd", "level": 1}, "shape": [2**30], "chunks": [2**30]},
     chunk=bytes.fromhex("28b52ffd0000") + b"\x02\0\x10\0"[:3] + bytes(8))  # fmt: skip
leaf("zarray-nested", zarray='{"shape":' + "[" * 200_000)
leaf("zarray-not-json", zarray="\0\1\2")
leaf("key-traversal", key="../secret")


@attack("orbax/metadata-nested")
def _(folder: Path) -> str:
    orbax(folder)
    (folder / "model/_METADATA").write_text('{"tree_metadata":' * 100_000)
    return "model"


@attack("orbax/link-outside")
def _(folder: Path) -> str:
    orbax(folder, chunk=None)
    (folder / "secret").write_bytes(bytes(16))
    os.symlink("../../secret", folder / "model/w/0")
    return "model"


@attack("orbax/unfinished")
def _(folder: Path) -> str:
    orbax(folder)
    (folder / "model").rename(folder / "model.orbax-checkpoint-tmp")
    return "model.orbax-checkpoint-tmp"


MANIFEST = b"\x0c\xdb\x3a\x2a"
for name, data in {
    "length-lies": MANIFEST + struct.pack("<Q", 2**63) + b"\0\0" + bytes(40),
    "crc-wrong": MANIFEST + struct.pack("<Q", 54) + b"\0\0" + bytes(40),
    "version-unknown": MANIFEST + struct.pack("<Q", 54) + b"\xff\xff\xff\xff\x0f\0" + bytes(36),
    "cut": MANIFEST,
    "zstd-garbage": MANIFEST + struct.pack("<Q", 54) + b"\0\1" + b"\xff" * 40,
    "varint-endless": MANIFEST + struct.pack("<Q", 54) + b"\x80" * 42,
}.items():

    def write(folder: Path, data: bytes = data) -> str:
        """A database that is only a manifest."""
        orbax(folder)
        (folder / "model/manifest.ocdbt").write_bytes(data)
        text = json.loads((folder / "model/_METADATA").read_text()) | {"use_ocdbt": True}
        (folder / "model/_METADATA").write_text(json.dumps(text))
        return "model"

    attack(f"ocdbt/{name}")(write)
