"""The bricks: how samples are registered, and the encodings that they are made of."""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PAYLOAD = "mkdir pwned"
"""The command of every sample: harmless, and seen when it ran."""


@dataclass(frozen=True)
class Sample:
    """A file or a folder, and what is to be said of it."""

    write: Callable[[Path], str | None]
    """Writes it into a folder, and returns its name there; the folder itself is the target without one."""
    expected: str
    """The verdict."""
    family: str
    """Weakness that it is about, by its advisory where there is one."""


SAMPLES: dict[str, Sample] = {}
Write = Callable[[Path], str | None]


def sample(name: str, expected: str, family: str = "") -> Callable[[Write], Write]:
    """Registers a function as a sample."""

    def register(write: Write) -> Write:
        if name in SAMPLES:
            raise ValueError(f"two samples are called `{name}`")
        SAMPLES[name] = Sample(write, expected, family)
        return write

    return register


def single(name: str, data: bytes, expected: str, *, file: str = "model.bin", family: str = "") -> None:
    """Registers a single file with these bytes."""

    def write(folder: Path) -> str:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(data)
        return file

    sample(name, expected, family)(write)


def document(name: str, value: object, expected: str, *, file: str = "config.json", family: str = "") -> None:
    """Registers a JSON document."""
    single(name, json.dumps(value, indent=1).encode(), expected, file=file, family=family)


# Pickles, opcode by opcode.

STOP = b"."


def text(value: str) -> bytes:
    """Pushes a text."""
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def glob(module: str, name: str) -> bytes:
    """Looks a name up, as protocol 4 does."""
    return text(module) + text(name) + b"\x93"


def call(module: str, name: str, *arguments: bytes) -> bytes:
    """Calls a name."""
    return glob(module, name) + b"(" + b"".join(arguments) + b"tR"


def pickled(body: bytes) -> bytes:
    """A pickle of protocol 4."""
    return b"\x80\x04" + body + STOP


SYSTEM = call("os", "system", text(PAYLOAD))


# Zip, so that its parts can disagree.


def torch_zip(pickle: bytes, *, name: str = "archive/data.pkl", more: dict[str, bytes] | None = None) -> bytes:
    """An archive of `torch.save`."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, pickle)
        archive.writestr("archive/version", "3\n")
        for member, data in (more or {}).items():
            archive.writestr(member, data)
    return out.getvalue()


def patched(archive: bytes, marker: bytes, offset: int, value: bytes) -> bytes:
    """The archive with bytes changed at an offset behind the first place of a marker."""
    at = archive.index(marker) + offset
    return archive[:at] + value + archive[at + len(value) :]


def npy(descr: str, data: bytes) -> bytes:
    """An array of one element."""
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': (1,), }}".encode()
    header += b" " * (63 - (10 + len(header)) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def gguf(metadata: dict[str, str], tail: bytes = b"") -> bytes:
    """A GGUF file without tensors."""
    out = b"GGUF" + struct.pack("<IQQ", 3, 0, len(metadata))
    for key, value in metadata.items():
        out += struct.pack("<Q", len(key.encode())) + key.encode() + struct.pack("<I", 8)
        out += struct.pack("<Q", len(value.encode())) + value.encode()
    return out + tail


def field(number: int, value: bytes | str | int) -> bytes:
    """A field of a protocol buffer."""

    def varint(value: int) -> bytes:
        out = b""
        while value >= 0x80:
            out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
        return out + bytes([value])

    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def compressed(data: bytes) -> bytes:
    """A zlib stream."""
    return zlib.compress(data)
