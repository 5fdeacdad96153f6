"""The bricks: how attacks are registered, and the encodings that they are made of."""

import json
import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Attack:
    """A hostile file or folder."""

    write: Callable[[Path], str | None]
    """Writes it into a folder, and returns its name there; the folder itself is the target without one."""
    names: bool
    """Whether names with control characters are the attack, so that the terminal's output is looked at, too."""


ATTACKS: dict[str, Attack] = {}
Write = Callable[[Path], str | None]


def attack(name: str, *, names: bool = False) -> Callable[[Write], Write]:
    """Registers a function as an attack."""

    def register(write: Write) -> Write:
        if name in ATTACKS:
            raise ValueError(f"two attacks are called `{name}`")
        ATTACKS[name] = Attack(write, names)
        return write

    return register


Data = bytes | Callable[[], bytes]
"""Content of a file; a function makes it when it is needed, which spares a test run that only lists names."""


def single(name: str, data: Data, *, file: str = "model.bin", names: bool = False) -> None:
    """Registers a single file with these bytes."""

    def write(folder: Path) -> str:
        (folder / file).write_bytes(data if isinstance(data, bytes) else data())
        return file

    attack(name, names=names)(write)


# Zip, written entry by entry so that its parts can disagree.


@dataclass
class Entry:
    """A member; what is not given in the directory is what the local header says."""

    name: bytes
    data: bytes
    method: int = 0
    flags: int = 0
    crc: int | None = None
    size: int | None = None
    stored: int | None = None
    directory: dict[str, Any] = field(default_factory=dict)
    extra: bytes = b""


def archive(entries: Iterable[Entry], *, prefix: bytes = b"", comment: bytes = b"", end: dict | None = None) -> bytes:
    """A zip file."""
    out, directory = bytearray(prefix), bytearray()
    count = 0
    for entry in entries:
        count += 1
        raw = entry.data
        if entry.method == 8:
            packer = zlib.compressobj(9, zlib.DEFLATED, -15)
            raw = packer.compress(entry.data) + packer.flush()
        fields = {
            "name": entry.name,
            "method": entry.method,
            "flags": entry.flags,
            "crc": zlib.crc32(entry.data) if entry.crc is None else entry.crc,
            "stored": len(raw) if entry.stored is None else entry.stored,
            "size": len(entry.data) if entry.size is None else entry.size,
            "offset": len(out),
        }
        out += struct.pack(
            "<4sHHHHHIIIHH", b"PK\3\4", 20, fields["flags"], fields["method"], 0, 0x21, fields["crc"], fields["stored"],
            fields["size"], len(entry.name), len(entry.extra),
        )  # fmt: skip
        out += entry.name + entry.extra + raw
        fields |= entry.directory
        directory += struct.pack(
            "<4sHHHHHHIIIHHHHHII", b"PK\1\2", 20, 20, fields["flags"], fields["method"], 0, 0x21, fields["crc"],
            fields["stored"], fields["size"], len(fields["name"]), len(fields.get("extra", b"")), 0, 0, 0, 0,
            fields["offset"],
        )  # fmt: skip
        directory += fields["name"] + fields.get("extra", b"")
    values = {"count": count, "length": len(directory), "offset": len(out)} | (end or {})
    out += directory
    out += struct.pack(
        "<4sHHHHIIH",
        b"PK\5\6",
        0,
        0,
        values["count"],
        values["count"],
        values["length"],
        values["offset"],
        len(comment),
    )
    return bytes(out + comment)


# Pickle, opcode by opcode.

PROTO2 = b"\x80\x02"
STOP = b"."


def glob(module: str, name: str) -> bytes:
    """A global, by the text opcode."""
    return f"c{module}\n{name}\n".encode()


def text(value: str) -> bytes:
    """A string."""
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    """An integer of any size."""
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def sequence(*items: bytes) -> bytes:
    """A tuple."""
    return b"(" + b"".join(items) + b"t"


def call(module: str, name: str, *arguments: bytes) -> bytes:
    """A call when it is unpickled."""
    return glob(module, name) + sequence(*arguments) + b"R"


def mapping(**items: bytes) -> bytes:
    """A dictionary."""
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


PAYLOAD = call("os", "mkdir", text("pwned"))
"""Makes an empty folder in the current one."""


def storage(key: str = "0", count: int = 4, kind: str = "FloatStorage") -> bytes:
    """torch's persistent id of a storage."""
    return sequence(text("storage"), glob("torch", kind), text(key), text("cpu"), number(count)) + b"Q"


def tensor(
    where: bytes | None = None, offset: int = 0, size: Iterable[int] = (4,), stride: Iterable[int] = (1,)
) -> bytes:
    """torch's call that makes a tensor over a storage."""
    size, stride = (sequence(*map(number, values)) for values in (size, stride))
    hooks = call("collections", "OrderedDict")
    parts = (storage() if where is None else where, number(offset), size, stride, b"\x89", hooks)
    return call("torch._utils", "_rebuild_tensor_v2", *parts)


def torch_zip(pickle: bytes, data: dict[str, bytes] | None = None, **options: Any) -> bytes:
    """A torch file around a pickle; storage `0` has four floats."""
    entries = [
        Entry(b"m/data.pkl", PROTO2 + pickle + STOP),
        Entry(b"m/byteorder", b"little"),
        Entry(b"m/version", b"3\n"),
    ]
    for key, value in ({"0": bytes(16)} if data is None else data).items():
        entries.append(Entry(f"m/data/{key}".encode(), value))
    return archive(entries, **options)


# Protocol buffers.


def varint(value: int) -> bytes:
    """A number of seven bits a byte."""
    value &= 2**64 - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def proto(*fields: tuple[int, int | bytes]) -> bytes:
    """A message: numbers are varints, bytes are length-delimited."""
    out = bytearray()
    for key, value in fields:
        if isinstance(value, int):
            out += varint(key << 3) + varint(value)
        else:
            out += varint(key << 3 | 2) + varint(len(value)) + value
    return bytes(out)


# Safetensors.


def safetensors(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A file with a header of JSON, or of the given text."""
    raw = header.encode() if isinstance(header, str) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def entry(shape: list[Any], begin: Any, end: Any, dtype: str = "F32") -> dict[str, Any]:
    """A tensor in such a header."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


EVIL_NAMES = {
    "nul": "a\0b",
    "escape": "\x1b[2J\x1b]0;owned\x07red\x1b[31m",
    "bidi": "weight\u202egnp.exe\u2066",
    "newline": "a\nINJECTED: line\r\n",
    "traversal": "../../../../etc/passwd",
    "invisible": "we\u200bight\ufeff",
}
"""Names that do something to a terminal, a log or a path."""
