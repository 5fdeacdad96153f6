"""ONNX, TensorFlow and TFLite."""

import os
import struct
from pathlib import Path

from attacks.build import EVIL_NAMES, Data, attack, proto, single, varint

FILE = "model.onnx"


def model(*graph: tuple[int, int | bytes]) -> bytes:
    """A model with these fields in its graph."""
    return proto((1, 8), (2, b"tests"), (7, proto((2, b"g"), *graph)), (8, proto((2, 17))))


def tensor(*dims: int, name: str = "w", raw: bytes | None = bytes(16), kind: int = 1, **more: int | bytes) -> bytes:
    """An initialiser; negative extents are ten bytes long."""
    fields: list[tuple[int, int | bytes]] = [(1, extent) for extent in dims]
    fields += [(2, kind), (8, name.encode("utf-8", "surrogatepass"))]
    if raw is not None:
        fields.append((9, raw))
    return proto(*fields, *((int(key[1:]), value) for key, value in more.items()))


def one(name: str, data: Data, **options: bool) -> None:
    """A model of ONNX."""
    single(f"onnx/{name}", data, file=FILE, **options)


def outside(location: str, offset: int = 0, length: int = 16) -> bytes:
    """An initialiser in another file."""
    pairs = {"location": location, "offset": str(offset), "length": str(length)}
    entries = [(13, proto((1, key.encode()), (2, value.encode()))) for key, value in pairs.items()]
    return proto((1, 4), (2, 1), (8, b"w"), *entries, (14, 1))


def external(folder: Path, **options: object) -> str:
    """A folder with the model and its data."""
    target = folder / "model"
    target.mkdir()
    (target / "weights.bin").write_bytes(bytes(16))
    (folder / "secret.bin").write_bytes(bytes(16))
    (target / FILE).write_bytes(model((5, outside(**options))))  # type: ignore[arg-type]
    return f"model/{FILE}"


for word, options in {
    "traversal": {"location": "../secret.bin"},
    "traversal-inside": {"location": "a/../../secret.bin"},
    "backslash": {"location": "..\\secret.bin"},
    "absolute": {"location": "/etc/passwd"},
    "url": {"location": "file:///etc/passwd"},
    "empty": {"location": ""},
    "itself": {"location": FILE},
    "device": {"location": "/dev/zero", "length": 2**40},
    "missing": {"location": "nothing.bin"},
    "offset-outside": {"location": "weights.bin", "offset": 2**40},
    "offset-negative": {"location": "weights.bin", "offset": -16},
    "length-outside": {"location": "weights.bin", "length": 2**62},
    "length-short": {"location": "weights.bin", "length": 3},
    "nul": {"location": "weights.bin\0.txt"},
}.items():
    attack(f"onnx/external-{word}")(lambda folder, options=options: external(folder, **options))


@attack("onnx/external-link")
def _(folder: Path) -> str:
    target = external(folder, location="link.bin")
    os.symlink("../secret.bin", folder / "model/link.bin")
    return target


@attack("onnx/external-link-of-folder")
def _(folder: Path) -> str:
    target = external(folder, location="link/secret.bin")
    os.symlink("..", folder / "model/link")
    return target


def nested(depth: int) -> bytes:
    """Graphs inside attributes of nodes."""
    graph = proto((2, b"g"), (5, tensor(4)))
    for _ in range(depth):
        graph = proto((1, proto((5, proto((1, b"body"), (6, graph), (20, 5))))), (2, b"g"))
    return proto((1, 8), (7, graph), (8, proto((2, 17))))


one("graphs-nested", lambda: nested(3000))
one(
    "functions-nested",
    lambda: proto((1, 8), (7, proto((2, b"g"))), (8, proto((2, 17))), *[(25, proto((7, b"")))] * 100_000),
)
one("varint-endless", proto((1, 8)) + b"\x3a" + b"\xff" * 1000)
one("length-outside", proto((1, 8)) + b"\x3a" + varint(2**62) + b"abc")
one("length-of-inner-outside", model((5, tensor(4))).replace(b"J\x10", b"J\x7f"))
one("group", proto((1, 8)) + b"\x3b" * 100_000)
one("field-zero", proto((1, 8)) + b"\2\0" + model((5, tensor(4))))
one("field-number-huge", proto((1, 8), (2**29 - 1, b"")) + model((5, tensor(4))))
one("graph-twice", model((5, tensor(4))) + model((5, tensor(4))))
one("shape-overflow", model((5, tensor(2**40, 2**40))))
one("shape-overflow-to-nothing", model((5, tensor(2**32, 2**32, raw=b""))))
one("shape-negative", model((5, tensor(-4))))
one("shape-disagrees", model((5, tensor(5))))
one("shape-many-axes", lambda: model((5, tensor(*[1] * 300_000, 4))))
one("kind-unknown", model((5, tensor(4, kind=99))))
one("kind-undefined", model((5, tensor(4, kind=0))))
one("no-data", model((5, tensor(2**40, raw=None))))
one("two-kinds-of-data", model((5, tensor(4, f4=struct.pack("<4f", 1, 2, 3, 4)))))
one("typed-too-few", model((5, tensor(4, raw=None, f4=struct.pack("<2f", 1, 2)))))
one("typed-too-wide", model((5, tensor(1, raw=None, kind=3, f5=varint(2**40)))))
one("name-twice", model((5, tensor(4)), (5, tensor(2, raw=bytes(8)))))
one("name-empty", model((5, tensor(4, name=""))))
one("many-tensors", lambda: model(*[(5, tensor(0, raw=b"", name=f"w{place}")) for place in range(100_000)]))
one(
    "sparse-outside",
    model(
        (15, proto((1, tensor(4, name="s")), (2, tensor(4, kind=7, raw=struct.pack("<4q", 0, 1, 2, 2**62))), (3, 8)))
    ),
)
one("many-empty-fields", lambda: model(*[(1, b"")] * 500_000))
one("cut", model((5, tensor(4)))[:-9])
for word, evil in EVIL_NAMES.items():
    one(f"name-{word}", model((5, tensor(4, name=evil))), names=True)


# TensorFlow.


def crc32c(data: bytes) -> int:
    """Castagnoli's checksum, masked as LevelDB does."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def block(entries: list[tuple[int, bytes, bytes]], restarts: int | None = None, kind: int = 0) -> bytes:
    """A block of a table: how many bytes of the last key are shared, the rest of the key, the value."""
    body = b"".join(
        varint(shared) + varint(len(rest)) + varint(len(value)) + rest + value for shared, rest, value in entries
    )
    body += struct.pack("<II", 0, 1 if restarts is None else restarts)
    return body + bytes([kind]) + struct.pack("<I", crc32c(body + bytes([kind])))


def table(data: bytes, *, handle: bytes | None = None, index: bytes | None = None) -> bytes:
    """A table with one block of data."""
    end = len(data)
    place = varint(0) + varint(end - 5) if handle is None else handle
    index = block([(0, b"\xff", place)]) if index is None else index
    meta = block([])
    footer = varint(end) + varint(len(meta) - 5) + varint(end + len(meta)) + varint(len(index) - 5)
    return data + meta + index + footer.ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")


HEADER = (0, b"", proto((1, 1), (3, proto((1, 1)))))


def shape(*extents: int) -> bytes:
    """A TensorShapeProto."""
    return proto(*((2, proto((1, extent))) for extent in extents))


def bundle(folder: Path, *entries: tuple[int, bytes, bytes], raw: bytes | None = None) -> str:
    """An index and sixteen bytes of data."""
    target = folder / "model"
    target.mkdir()
    (target / "ckpt.data-00000-of-00001").write_bytes(bytes(16))
    (target / "ckpt.index").write_bytes(table(block([HEADER, *entries])) if raw is None else raw)
    return "model"


def variable(*extents: int, key: bytes = b"w", kind: int = 1, **fields: int) -> tuple[int, bytes, bytes]:
    """A BundleEntryProto."""
    more = {"shard": (3, 0), "offset": (4, 0), "size": (5, 16)}
    values = [(number, fields.get(name, usual)) for name, (number, usual) in more.items()]
    return 0, key, proto((1, kind), (2, shape(*extents)), *values)


for word, entries in {
    "shape-overflow": [variable(2**40, 2**40)],
    "shape-negative": [variable(-4)],
    "shape-disagrees": [variable(5)],
    "size-outside": [variable(4, size=2**40)],
    "size-overflow": [variable(2**61, size=2**63)],
    "offset-outside": [variable(4, offset=2**40)],
    "offset-overflow": [variable(4, offset=2**63 - 1)],
    "shard-outside": [variable(4, shard=77)],
    "kind-unknown": [variable(4, kind=999)],
    "key-twice": [variable(4), variable(4)],
    "keys-out-of-order": [variable(4, key=b"z"), variable(4, key=b"a")],
    "key-not-utf8": [variable(4, key=b"\xff\xfe")],
    "key-shares-too-much": [(40, b"w", variable(4)[2])],
    "string-lengths": [variable(4, kind=7)],
    "value-not-a-message": [(0, b"w", b"\xff" * 30)],
    "slices-without-data": [(0, b"w", proto((1, 1), (2, shape(2**40)), (7, proto((1, proto((1, 0), (2, 4)))))))],
    "object-graph-garbage": [variable(1, key=b"_CHECKPOINTABLE_OBJECT_GRAPH", kind=7)],
}.items():
    attack(f"tensorbundle/{word}")(lambda folder, entries=entries: bundle(folder, *entries))

GOOD = block([HEADER, variable(4)])
for word, data in {
    "handle-outside": table(GOOD, handle=varint(2**40) + varint(100)),
    "handle-overflow": table(GOOD, handle=varint(2**64 - 1) + varint(2**64 - 1)),
    "handle-of-index": table(GOOD, handle=varint(len(GOOD) + len(block([]))) + varint(20)),
    "restarts-huge": table(block([HEADER, variable(4)], restarts=2**31)),
    "restarts-zero": table(block([HEADER, variable(4)], restarts=0)),
    "crc-wrong": table(GOOD[:-1] + bytes([GOOD[-1] ^ 1])),
    "compression-unknown": table(block([HEADER, variable(4)], kind=9)),
    "snappy-bomb": table(varint(2**32 - 1) + b"\0a" + b"\xfe\1\0" * 50 + b"\1" + struct.pack("<I", 0)),
    "footer-garbage": bytes(40) + b"\xff" * 40 + bytes.fromhex("57fb808b247547db"),
    "only-footer": bytes(40) + bytes.fromhex("57fb808b247547db"),
    "key-empty-many": table(block([HEADER] * 50)),
    "shards-huge": table(block([(0, b"", proto((1, 2**31 - 1))), variable(4)])),
}.items():
    attack(f"tensorbundle/{word}")(lambda folder, data=data: bundle(folder, raw=data))


@attack("tensorbundle/pointer-traversal")
def _(folder: Path) -> str:
    (folder / "ckpt.index").write_bytes(table(GOOD))
    (folder / "ckpt.data-00000-of-00001").write_bytes(bytes(16))
    target = folder / "model"
    target.mkdir()
    (target / "checkpoint").write_text('model_checkpoint_path: "../ckpt"\nall_model_checkpoint_paths: "/etc/passwd"\n')
    return "model"


single("saved-model/nested", lambda: proto((1, 1), (2, _nest(20_000))), file="saved_model.pb")
single("saved-model/length-outside", proto((1, 1)) + b"\x12" + varint(2**62), file="saved_model.pb")
single("saved-model/reads-files", proto((1, 1), (2, proto((2, proto((1, proto((1, b"r"), (2, b"ReadFile")))))))),
       file="saved_model.pb")  # fmt: skip


def _nest(depth: int) -> bytes:
    data = b""
    for _ in range(depth):
        data = proto((2, data))
    return data


# TFLite.


def flatbuffer(root: int, *rest: bytes) -> bytes:
    """A flatbuffer with the root's offset."""
    return struct.pack("<I4s", root, b"TFL3") + b"".join(rest)


for word, data in {
    "root-outside": flatbuffer(2**31, bytes(64)),
    "root-in-itself": flatbuffer(0, bytes(64)),
    "root-at-end": flatbuffer(72, bytes(64)),
    "vtable-before": flatbuffer(8, struct.pack("<i", 2**30), bytes(60)),
    "vtable-negative": flatbuffer(8, struct.pack("<i", -(2**30)), bytes(60)),
    "vtable-huge": flatbuffer(12, struct.pack("<HH", 0xFFFF, 0xFFFF), struct.pack("<i", 4), bytes(60)),
    "vtable-odd": flatbuffer(12, struct.pack("<HH", 5, 4), struct.pack("<i", 4), bytes(60)),
    "vector-huge": flatbuffer(24, struct.pack("<HHHHHH", 12, 20, 4, 8, 12, 16), bytes(4),
                              struct.pack("<iIIII", 16, 3, 4, 8, 4), struct.pack("<I", 2**31), bytes(64)),
    "vector-of-itself": flatbuffer(24, struct.pack("<HHHHHH", 12, 20, 4, 8, 12, 16), bytes(4),
                                   struct.pack("<iIIII", 16, 3, 4, 8, 4), struct.pack("<IIII", 3, 0, 0, 0), bytes(64)),
    "only-magic": flatbuffer(8),
}.items():  # fmt: skip
    single(f"tflite/{word}", data, file="model.tflite")
