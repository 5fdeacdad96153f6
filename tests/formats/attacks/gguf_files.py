"""GGUF: counts, lengths, nesting, offsets."""

import struct

from attacks.build import EVIL_NAMES, Data, single

FILE = "model.gguf"
U8, U32, BOOL, STRING, ARRAY, U64 = 0, 4, 7, 8, 9, 10


def word(value: str | bytes, length: int | None = None) -> bytes:
    """A string with its length."""
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data) if length is None else length) + data


def pair(key: str | bytes, kind: int, value: bytes) -> bytes:
    """A key with its value."""
    return word(key) + struct.pack("<I", kind) + value


def info(name: str | bytes, dims: list[int], kind: int = 0, offset: int = 0, count: int | None = None) -> bytes:
    """Where a tensor lies."""
    extents = b"".join(struct.pack("<Q", extent) for extent in dims)
    head = word(name) + struct.pack("<I", len(dims) if count is None else count)
    return head + extents + struct.pack("<IQ", kind, offset)


ARCHITECTURE = pair("general.architecture", STRING, word("llama"))


def file(
    pairs: list[bytes] | None = None,
    infos: list[bytes] | None = None,
    data: bytes = bytes(128),
    *,
    version: int = 3,
    tensors: int | None = None,
    keys: int | None = None,
) -> bytes:
    """A file, whose counts may lie."""
    pairs = [ARCHITECTURE, *(pairs or [])]
    infos = [info("w", [4])] if infos is None else infos
    head = b"GGUF" + struct.pack(
        "<IQQ", version, len(infos) if tensors is None else tensors, len(pairs) if keys is None else keys
    )
    head += b"".join(pairs) + b"".join(infos)
    return head + bytes(-len(head) % 32) + data


def one(name: str, data: Data, **options: bool) -> None:
    """A file of this format."""
    single(f"gguf/{name}", data, file=FILE, **options)


def array(kind: int, count: int, data: bytes = b"") -> bytes:
    """An array with its count."""
    return struct.pack("<IQ", kind, count) + data


one("tensor-count-huge", file(tensors=2**63))
one("key-count-huge", file(keys=2**63))
one("counts-overflow", file(tensors=2**64 - 1, keys=2**64 - 1))
one("key-length-huge", file([word("a", 2**63)]))
one("string-length-huge", file([pair("a", STRING, word("b", 2**64 - 1))]))
one("array-count-huge", file([pair("a", ARRAY, array(U64, 2**62))]))
one("array-count-overflow", file([pair("a", ARRAY, array(U64, 2**61))]))
one("array-of-strings-huge", file([pair("a", ARRAY, array(STRING, 2**40))]))
one("array-of-nothing-huge", file([pair("a", ARRAY, array(ARRAY, 2**40, array(U8, 0) * 1000))]))
one("array-nested", lambda: file([pair("a", ARRAY, array(ARRAY, 1) * 1_000_000 + array(U8, 0))]))
one("array-nested-wide", lambda: file([pair("a", ARRAY, array(ARRAY, 300_000, array(U8, 0) * 300_000))]))
one("array-of-millions", lambda: file([pair("a", ARRAY, array(U8, 20_000_000, bytes(20_000_000)))]))
one("strings-of-millions", lambda: file([pair("a", ARRAY, array(STRING, 2_000_000, word("") * 2_000_000))]))
one("many-keys", lambda: file([pair(f"k{place}", U8, b"\0") for place in range(300_000)]))
one("many-tensors", lambda: file(infos=[info(f"w{place}", [0]) for place in range(300_000)]))
one("value-type-unknown", file([pair("a", 99, bytes(8))]))
one("array-type-unknown", file([pair("a", ARRAY, array(99, 1, bytes(8)))]))
one("bool-of-two", file([pair("a", BOOL, b"\2")]))
one("key-not-utf8", file([pair(b"\xff\xfe", U8, b"\0")]))
one("key-empty", file([pair("", U8, b"\0")]))
one("key-twice", file([pair("a", U8, b"\0"), pair("a", U8, b"\1")]))
one("architecture-twice", file([ARCHITECTURE]))
one("architecture-number", file([pair("general.name", U8, b"\0")]).replace(word("llama"), word("lla\0a")))
for value in (0, 3, 7, 2**31, 2**32 - 1):
    one(f"alignment-{value}", file([pair("general.alignment", U32, struct.pack("<I", value))]))
one("alignment-string", file([pair("general.alignment", STRING, word("32"))]))
one("axes-huge", file(infos=[info("w", [4], count=2**32 - 1)]))
one("axes-many", file(infos=[info("w", [1] * 5000)]))
one("axes-none", file(infos=[info("w", [])]))
one("shape-overflow", file(infos=[info("w", [2**32, 2**32, 2**32])]))
one("shape-overflow-to-nothing", file(infos=[info("w", [2**63, 2])]))
one("bytes-overflow", file(infos=[info("w", [2**62])]))
one("extent-not-of-blocks", file(infos=[info("w", [33], kind=2)]))
one("blocks-outside", file(infos=[info("w", [256 * 2**40], kind=12)]))
one("type-unknown", file(infos=[info("w", [4], kind=200)]))
for kind in (4, 5, 31, 32, 33, 36, 37, 38):
    one(f"type-removed-{kind}", file(infos=[info("w", [32], kind=kind)]))
one("offset-outside", file(infos=[info("w", [4], offset=2**40)]))
one("offset-overflow", file(infos=[info("w", [4], offset=2**64 - 8)]))
one("offset-crooked", file(infos=[info("w", [4], offset=7)]))
one("overlap", file(infos=[info("a", [16]), info("b", [16], offset=32)]))
one("tensor-twice", file(infos=[info("w", [4]), info("w", [4], offset=32)]))
one("name-long", file(infos=[info("n" * 2_000_000, [4])]))
one("name-not-utf8", file(infos=[info(b"\xff\xfe", [4])]))
one("trailing", file(data=bytes(100_000)))
one("cut-in-data", file(data=bytes(3)))
one("cut-in-infos", file()[:70])
one("cut-in-magic", b"GGU")
one("only-magic", b"GGUF")
for version in (0, 4, 2**31, 2**32 - 1):
    one(f"version-{version}", file(version=version))
one("version-big-endian-little-body", b"GGUF\0\0\0\3" + file()[8:])
one("version-1-counts", b"GGUF" + struct.pack("<III", 1, 2**32 - 1, 2**32 - 1))
one("split-lies", file([pair("split.count", 2, b"\xff\xff"), pair("split.no", 2, b"\x07\0")]))
one("split-count-zero", file([pair("split.count", 2, b"\0\0"), pair("split.tensors.count", 5, b"\xff\xff\xff\xff")]))
for evil_word, evil in EVIL_NAMES.items():
    one(f"name-{evil_word}", file(infos=[info(evil, [4])]), names=True)
    one(f"key-{evil_word}", file([pair(evil, STRING, word(evil))]), names=True)
    one(f"architecture-{evil_word}", file().replace(word("llama"), word(evil)), names=True)
one("template", file([pair("tokenizer.chat_template", STRING, word("{{ ''.__class__.__mro__[1].__subclasses__() }}"))]))
