"""torch's files: tensors over storages, the zip around them, the old stream, distributed folders."""

import struct
from pathlib import Path

from attacks.build import (
    EVIL_NAMES,
    PAYLOAD,
    PROTO2,
    STOP,
    Data,
    Entry,
    archive,
    attack,
    call,
    glob,
    mapping,
    number,
    sequence,
    single,
    storage,
    tensor,
    text,
    torch_zip,
)  # fmt: skip

FILE = "model.pt"


def one(name: str, data: Data, **options: bool) -> None:
    """A torch file."""
    single(f"torch/{name}", data, file=FILE, **options)


def weights(**tensors: bytes) -> bytes:
    """A file with these tensors."""
    return torch_zip(mapping(**tensors))


GOOD = mapping(w=tensor())

# Code.
one("call", torch_zip(PAYLOAD))
one("call-among-tensors", weights(w=tensor(), x=PAYLOAD))
one("call-in-dropped-value", torch_zip(PAYLOAD + b"0" + GOOD))
one("call-after-stop", torch_zip(GOOD + STOP + PAYLOAD))
one("global-by-stack", torch_zip(text("o" + "s") + text("mkdir") + b"\x93" + sequence(text("pwned")) + b"R"))
one("call-by-build", torch_zip(glob("os", "mkdir") + b")\x81" + mapping(a=text("pwned")) + b"b"))
one("call-then-broken", torch_zip(PAYLOAD + b"\xff"))
one("eval", torch_zip(call("builtins", "eval", text("__import__('os').mkdir('pwned')"))))

# Tensors over storages.
one("stride-outside", weights(w=tensor(size=[4], stride=[1000])))
one("offset-outside", weights(w=tensor(offset=3, size=[4])))
one("offset-overflow", weights(w=tensor(offset=2**63 - 1, size=[4])))
one("offset-negative", weights(w=tensor(offset=-1)))
one("stride-negative", weights(w=tensor(offset=3, size=[4], stride=[-1])))
one("stride-overflow", weights(w=tensor(size=[2**31, 2**31], stride=[2**33, 2**33])))
one("size-negative", weights(w=tensor(size=[-4])))
one("size-overflow", weights(w=tensor(size=[2**40, 2**40], stride=[0, 0])))
one("size-of-forty-digits", weights(w=tensor(size=[10**40], stride=[0])))
one("axes-disagree", weights(w=tensor(size=[2, 2], stride=[1])))
one("many-axes", lambda: weights(w=tensor(size=[1] * 50_000, stride=[1] * 50_000)))
one("expanded-bomb", weights(w=tensor(size=[2**40], stride=[0])))
one("expanded-bombs", lambda: weights(**{f"w{place}": tensor(size=[2**31], stride=[0]) for place in range(2000)}))
one("storage-missing", weights(w=tensor(storage("7"))))
one("storage-longer-than-entry", weights(w=tensor(storage(count=2**40), size=[2**40])))
one("storage-two-lengths", weights(a=tensor(storage(count=2)), b=tensor(storage(count=4))))
one("storage-two-types", weights(a=tensor(), b=tensor(storage(kind="DoubleStorage", count=2), size=[2])))
one("storage-unknown-type", weights(w=tensor(storage(kind="MagicStorage"))))
one("storage-key-traversal", weights(w=tensor(storage("../data.pkl"))))
one("storage-negative-count", weights(w=tensor(storage(count=-1))))
one("persistent-id-of-wrong-kind", torch_zip(mapping(w=number(7) + b"Q")))
one("tensor-without-arguments", torch_zip(mapping(w=call("torch._utils", "_rebuild_tensor_v2"))))
one("tensor-of-strings", torch_zip(mapping(w=call("torch._utils", "_rebuild_tensor_v2", *[text("x")] * 6))))
one("parameter-of-itself", torch_zip(b"}q\0(X\1\0\0\0wh\0u"))
for word, evil in EVIL_NAMES.items():
    one(f"name-{word}", torch_zip(b"}(" + text(evil) + tensor() + b"u"), names=True)

# Modules and optimizers that contain themselves.
MODULE = glob("torch.nn.modules.container", "Sequential") + b")\x81q\1"
one("module-in-itself", torch_zip(MODULE + mapping(_modules=mapping(a=b"h\1"), _parameters=b"}") + b"b"))
one("list-in-itself", torch_zip(b"]q\1h\1a" + b"0" + b"}(" + text("w") + b"h\1" + b"u"))
one("state-dict-in-itself", torch_zip(b"}q\1(" + text("state_dict") + b"h\1" + text("w") + tensor() + b"u"))
LAUGHS = b"".join(b"(" + (b"h%c" % place if place else tensor()) * 10 + b"lq%c0" % (place + 1) for place in range(40))
one("shared-lists-doubling", lambda: torch_zip(LAUGHS + b"}(" + text("w") + b"h\x28u"))


def doubling(depth: int) -> bytes:
    """Modules that hold the one before them twice."""
    out = b""
    for place in range(depth):
        inner = mapping(a=b"h%c" % place, b=b"h%c" % place) if place else mapping()
        made = glob("torch.nn.modules.module", "Module") + b")\x81"
        out += made + mapping(_modules=inner, _parameters=b"}") + b"b" + b"q%c0" % (place + 1)
    return out + b"h%c" % depth


one("modules-doubling", torch_zip(doubling(60)))
one("nested", lambda: torch_zip(b"]" * 1_000_000 + b"a" * 999_999))
one(
    "nested-dictionaries", lambda: torch_zip(b"}" + b"".join(text("a") + b"}" for _ in range(300_000)) + b"s" * 300_000)
)
OPTIMIZER = mapping(state=b"}(" + number(2**62) + mapping(exp_avg=tensor()) + b"u", param_groups=b"]")
one("optimizer-numbers", torch_zip(mapping(model=GOOD, optimizer=OPTIMIZER)))

# The zip.
PICKLE = PROTO2 + GOOD + STOP
EVIL = PROTO2 + PAYLOAD + STOP


def members(pickle: bytes = PICKLE, **options: object) -> list[Entry]:
    """The members of a small file."""
    return [Entry(b"m/data.pkl", pickle, **options), Entry(b"m/version", b"3\n"), Entry(b"m/data/0", bytes(16))]


one("zip-two-pickles", archive([*members(), Entry(b"m/data.pkl", EVIL)]))
one("zip-two-roots", archive([*members(), Entry(b"n/data.pkl", EVIL)]))
one("zip-name-disagrees", archive([*members(directory={"name": b"m/data.pk_"})]))
one("zip-size-disagrees", archive(members(directory={"size": 3, "stored": 3})))
one("zip-size-past-the-end", archive(members(directory={"size": 2**31, "stored": 2**31})))
one("zip-method-disagrees", archive(members(directory={"method": 8})))
one("zip-method-unknown", archive(members(method=99)))
one("zip-encrypted", archive(members(flags=1)))
one("zip-flags", archive(members(flags=0x60)))
one("zip-crc-wrong", archive(members(crc=0xDEADBEEF)))
one("zip-prefix", archive(members(), prefix=b"#!/bin/sh\nexit\n"))
one("zip-prefix-pickle", archive(members(), prefix=EVIL))
one("zip-count-lies", archive(members(), end={"count": 60_000}))
one("zip-directory-outside", archive(members(), end={"offset": 2**31}))
one("zip-directory-long", archive(members(), end={"length": 2**31}))
one("zip-offset-outside", archive(members(directory={"offset": 2**31})))
one("zip-two-ends", archive(members()) + archive(members(EVIL)))
one("zip-end-in-comment", archive(members(), comment=archive(members(EVIL))[-22:] + b"x"))
one("zip-zip64-disagrees", archive(members(directory={
    "size": 0xFFFFFFFF, "stored": 0xFFFFFFFF, "extra": struct.pack("<HHQQ", 1, 16, 2**62, 2**62),
})))  # fmt: skip
one("zip-zip64-short", archive(members(directory={"size": 0xFFFFFFFF, "extra": struct.pack("<HH", 1, 0)})))
one("zip-extra-overruns", archive(members(directory={"extra": struct.pack("<HH", 1, 60000)})))
one("zip-data-deflated", archive([*members()[:2], Entry(b"m/data/0", bytes(16), method=8)]))
one("zip-deflate-bomb", lambda: archive([*members()[:2], Entry(b"m/data/0", bytes(300_000_000), method=8)]))
one(
    "zip-pickle-bomb",
    lambda: archive([Entry(b"m/data.pkl", PROTO2 + b"]" + b"N0" * 100_000_000, method=8), *members()[1:]]),
)
one(
    "zip-many-entries", lambda: archive([*members(), *(Entry(b"m/data/%d" % place, b"") for place in range(1, 60_000))])
)
one("zip-overlapping", lambda: archive([
    *members(), *(Entry(b"m/data/%d" % place, b"", directory={"offset": 0}) for place in range(1, 1000)),
]))  # fmt: skip
one("zip-no-pickle", archive([Entry(b"m/version", b"3\n"), Entry(b"m/data/0", bytes(16))]))
one("zip-only-end", b"PK\5\6" + bytes(18))
one("zip-cut", archive(members())[:-30])
one("zip-name-traversal", archive([*members(), Entry(b"../../evil.sh", b"")]))
one("zip-name-not-utf8", archive([*members(), Entry(b"m/\xff\xfe", b"")]))
one("zip-byteorder-unknown", archive([*members(), Entry(b"m/byteorder", b"middle")]))
for word, evil in EVIL_NAMES.items():
    one(f"zip-member-{word}", archive([*members(), Entry(f"m/{evil}".encode(), b"", flags=0x800)]), names=True)


# The old stream.
HEAD = (
    b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."
    + PROTO2
    + mapping(protocol_version=number(1001), little_endian=b"\x88", type_sizes=b"}")
    + STOP
)


def old(view: bytes = b"N", count: int = 4) -> bytes:
    """A pickled tensor over a storage with an optional view."""
    parts = sequence(text("storage"), glob("torch", "FloatStorage"), text("9"), text("cpu"), number(count), view)
    return PROTO2 + mapping(w=tensor(parts + b"Q")) + STOP


KEYS = PROTO2 + b"](" + text("9") + b"e" + STOP
DATA = struct.pack("<Q", 4) + bytes(16)
for word, body in {
    "call": PROTO2 + PAYLOAD + STOP + KEYS + DATA,
    "count-huge": old() + KEYS + struct.pack("<Q", 2**62) + bytes(16),
    "count-disagrees": old() + KEYS + struct.pack("<Q", 3) + bytes(16),
    "cut": old() + KEYS + DATA[:10],
    "no-data": old() + KEYS,
    "view-outside": old(sequence(text("v"), number(2**40), number(4))) + KEYS + DATA,
    "view-of-itself": old(sequence(text("9"), number(0), number(4))) + KEYS + DATA,
    "keys-not-a-list": old() + PROTO2 + b"K\7" + STOP + DATA,
    "keys-twice": old() + PROTO2 + b"](" + text("9") * 100_000 + b"e" + STOP + DATA,
    "call-in-keys": old() + PROTO2 + PAYLOAD + STOP + DATA,
    "expanded-bomb": PROTO2 + mapping(w=tensor(sequence(
        text("storage"), glob("torch", "FloatStorage"), text("9"), text("cpu"), number(4), b"N") + b"Q",
        size=[2**40], stride=[0])) + STOP + KEYS + DATA,
    "trailing": old() + KEYS + DATA + b"PK\5\6" + bytes(18),
}.items():  # fmt: skip
    single(f"torch-legacy/{word}", HEAD + body, file=FILE)


# Distributed folders.


def instance(name: str, **state: bytes) -> bytes:
    """An object of torch's distributed metadata."""
    return glob("torch.distributed.checkpoint.metadata", name) + b")\x81" + mapping(**state) + b"b"


def size(*extents: int) -> bytes:
    """A `torch.Size`."""
    return call("torch", "Size", sequence(*map(number, extents)))


def dcp(folder: Path, *, extents: tuple[int, ...] = (4,), chunks: tuple[tuple[int, int], ...] = ((0, 4),),
        path: str = "__0_0.distcp", offset: int = 0, length: int | None = None) -> str:  # fmt: skip
    """A folder with one tensor `w`, in chunks along its first axis."""
    data = weights_file = torch_zip(tensor())
    module = "torch.distributed.checkpoint."
    rest = (0,) * (len(extents) - 1)
    described = [
        instance("ChunkStorageMetadata", offsets=size(begin, *rest), sizes=size(count, *extents[1:]))
        for begin, count in chunks
    ]
    properties = glob(module + "metadata", "TensorProperties") + b")\x81" + sequence(
        glob("torch", "float32"), b"\x89", sequence(), b"\x89", b"\x89"
    ) + b"b"  # fmt: skip
    entry = instance(
        "TensorStorageMetadata", properties=properties, size=size(*extents), chunks=b"](" + b"".join(described) + b"e"
    )
    places = b""
    for number_, (begin, _) in enumerate(chunks):
        index = instance("MetadataIndex", fqn=text("w"), offset=size(begin, *rest), index=number(number_))
        info = glob(module + "filesystem", "_StorageInfo") + b")\x81" + mapping(
            relative_path=text(path), offset=number(offset), length=number(len(data) if length is None else length)
        ) + b"b"  # fmt: skip
        places += index + info
    whole = instance(
        "Metadata",
        state_dict_metadata=mapping(w=entry),
        planner_data=mapping(w=sequence(text("w"))),
        storage_data=b"}(" + places + b"u",
    )
    target = folder / "model"
    target.mkdir()
    (target / ".metadata").write_bytes(PROTO2 + whole + STOP)
    (target / "__0_0.distcp").write_bytes(weights_file)
    return "model"


@attack("dcp/path-traversal")
def _(folder: Path) -> str:
    (folder / "secret.distcp").write_bytes(torch_zip(tensor()))
    return dcp(folder, path="../secret.distcp")


@attack("dcp/path-absolute")
def _(folder: Path) -> str:
    return dcp(folder, path="/etc/passwd")


@attack("dcp/path-missing")
def _(folder: Path) -> str:
    return dcp(folder, path="__9_9.distcp")


@attack("dcp/overlap")
def _(folder: Path) -> str:
    return dcp(folder, extents=(6,), chunks=((0, 4), (2, 4)))


@attack("dcp/hole")
def _(folder: Path) -> str:
    return dcp(folder, extents=(12,), chunks=((0, 4), (8, 4)))


@attack("dcp/chunk-outside")
def _(folder: Path) -> str:
    return dcp(folder, extents=(4,), chunks=((2, 4),))


@attack("dcp/extent-huge")
def _(folder: Path) -> str:
    return dcp(folder, extents=(2**60,), chunks=((0, 2**60),))


@attack("dcp/extent-overflow")
def _(folder: Path) -> str:
    return dcp(folder, extents=(2**40, 2**40), chunks=((0, 2**40),))


@attack("dcp/many-chunks")
def _(folder: Path) -> str:
    return dcp(folder, extents=(40_000,), chunks=tuple((4 * place, 4) for place in range(10_000)))


@attack("dcp/offset-outside")
def _(folder: Path) -> str:
    return dcp(folder, offset=2**40)


@attack("dcp/length-outside")
def _(folder: Path) -> str:
    return dcp(folder, length=2**62)


@attack("dcp/metadata-calls")
def _(folder: Path) -> str:
    target = dcp(folder)
    (folder / target / ".metadata").write_bytes(PROTO2 + PAYLOAD + STOP)
    return target
