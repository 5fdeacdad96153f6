"""Archives around other formats, and folders: tar, stable-baselines3, Keras, TorchScript, links, pipes."""

import base64
import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

from attacks.build import (
    EVIL_NAMES,
    PAYLOAD,
    PROTO2,
    STOP,
    Entry,
    archive,
    attack,
    entry,
    mapping,
    safetensors,
    single,
    tensor,
    torch_zip,
)  # fmt: skip

WEIGHTS = torch_zip(mapping(w=tensor()))
CONFIG = b"target: nemo.collections.asr.models.EncDecCTCModel\n"


def info(name: str, data: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    """A member of a tar."""
    made = tarfile.TarInfo(name)
    made.size = len(data)
    for key, value in fields.items():
        setattr(made, key, value)
    return made, data


def tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A NeMo archive with more members."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as made:
        for member, data in (info("model_config.yaml", CONFIG), info("model_weights.ckpt", WEIGHTS), *members):
            made.addfile(member, io.BytesIO(data))
    return out.getvalue()


def lying(size: bytes) -> bytes:
    """A tar whose first header claims another size; the checksum is right."""
    data = bytearray(tar())
    data[124:136] = size.ljust(12, b"\0")
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    return bytes(data)


for word, data in {
    "traversal": tar(info("../../evil.sh", b"x")),
    "absolute": tar(info("/etc/evil", b"x")),
    "symbolic-link": tar(info("model_weights.ckpt", type=tarfile.SYMTYPE, linkname="/etc/passwd")),
    "hard-link": tar(info("other.ckpt", type=tarfile.LNKTYPE, linkname="../../etc/passwd")),
    "device": tar(info("model_weights.ckpt", type=tarfile.CHRTYPE, devmajor=1, devminor=5)),
    "pipe": tar(info("pipe", type=tarfile.FIFOTYPE)),
    "member-twice": tar(info("model_weights.ckpt", torch_zip(PAYLOAD))),
    "long-names": tar(*[info("n" * 20_000, b"")] * 50),
    "size-huge": lying(b"\x80" + b"\0" * 3 + b"\x7f" + b"\xff" * 7),
    "size-octal-huge": lying(b"77777777777"),
    "size-not-a-number": lying(b"abcdefghijk"),
    "size-negative": lying(b"\xff" * 12),
    "checksum-wrong": tar().replace(b"ustar", b"ustaR", 1),
    "cut": tar()[:700],
    "call": tar(info("a/data.pkl", PROTO2 + PAYLOAD + STOP)),
}.items():
    single(f"nemo/{word}", data, file="model.nemo")
single("nemo/many", lambda: tar(*[info(f"f{place}") for place in range(20_000)]), file="model.nemo")
single("nemo/gzip-bomb", lambda: gzip.compress(tar(info("zeros", bytes(300_000_000))), 9), file="model.nemo")
single("nemo/gzip-cut", gzip.compress(tar())[:-400], file="model.nemo")
single("nemo/gzip-of-gzip", lambda: gzip.compress(gzip.compress(bytes(100_000_000))), file="model.nemo")
for word, evil in EVIL_NAMES.items():
    single(f"nemo/name-{word}", tar(info(evil, b"x")), file="model.nemo", names=True)


# stable-baselines3.


def policy(data: object, **members: bytes) -> bytes:
    """A zip with the algorithm's attributes."""
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    entries = [Entry(b"data", body), Entry(b"policy.pth", WEIGHTS), Entry(b"_stable_baselines3_version", b"2.9.2")]
    return archive([*entries, *(Entry(name.encode(), value) for name, value in members.items())])


PICKLED = base64.b64encode(PROTO2 + PAYLOAD + STOP).decode()
for word, content in {
    "call": policy({"policy_class": {":type:": "<class 'abc.ABCMeta'>", ":serialized:": PICKLED}}),
    "call-in-policy": archive([Entry(b"data", b"{}"), Entry(b"policy.pth", torch_zip(PAYLOAD)),
                               Entry(b"_stable_baselines3_version", b"2.9.2")]),
    "base64-garbage": policy({"a": {":type:": "x", ":serialized:": "!!!!"}}),
    "data-nested": policy(b'{"a":' * 100_000),
    "data-not-json": policy(b"\x80\x02N."),
    "policy-missing": archive([Entry(b"data", b"{}"), Entry(b"_stable_baselines3_version", b"2.9.2")]),
    "policy-in-itself": archive([Entry(b"data", b"{}"), Entry(b"policy.pth", policy({})),
                                 Entry(b"_stable_baselines3_version", b"2.9.2")]),
}.items():  # fmt: skip
    single(f"stable-baselines3/{word}", content, file="model.zip")


# Keras.


def keras(config: str, weights: bytes = b"", *more: Entry) -> bytes:
    """A .keras file."""
    entries = [Entry(b"metadata.json", b'{"keras_version": "3.15.1"}'), Entry(b"config.json", config.encode())]
    return archive([*entries, Entry(b"model.weights.h5", weights), *more])


LAMBDA = {
    "module": "keras.layers",
    "class_name": "Lambda",
    "config": {
        "function": {"class_name": "__lambda__", "config": {"code": "4wEAAAAAAAAAAAAAAAEAAAADAAAAUwAAAHMEAAAA"}}
    },
}
CALL = {"module": "os", "class_name": "function", "config": "mkdir", "registered_name": "mkdir"}
SEQUENTIAL = {"module": "keras", "class_name": "Sequential", "config": {"name": "s", "layers": []}}
for word, content in {
    "lambda": keras(json.dumps(SEQUENTIAL | {"config": {"name": "s", "layers": [LAMBDA]}})),
    "module-os": keras(json.dumps(SEQUENTIAL | {"config": {"name": "s", "layers": [CALL]}})),
    "config-nested": keras('{"config":' * 100_000),
    "config-not-json": keras("nope"),
    "weights-garbage": keras(json.dumps(SEQUENTIAL), b"\x89HDF\r\n\x1a\n" + b"\xff" * 200),
    "weights-missing": archive([Entry(b"metadata.json", b"{}"), Entry(b"config.json", b"{}")]),
    "name-traversal": keras(json.dumps(SEQUENTIAL), b"", Entry(b"assets/../../evil", b"x")),
    "config-bomb": archive([Entry(b"metadata.json", b"{}"), Entry(b"config.json", b" " * 100_000_000, method=8),
                            Entry(b"model.weights.h5", b"")]),
}.items():  # fmt: skip
    single(f"keras/{word}", content, file="model.keras")


# TorchScript and exported programs.


def script(pickle: bytes, constants: bytes = PROTO2 + b")" + STOP, *more: Entry) -> bytes:
    """An archive with a module and its code."""
    entries = [
        Entry(b"m/data.pkl", PROTO2 + pickle + STOP),
        Entry(b"m/constants.pkl", constants),
        Entry(b"m/version", b"3\n"),
    ]
    code = Entry(
        b"m/code/__torch__.py", b"class M(Module):\n  def forward(self):\n    return torch.save(self)\n", method=8
    )
    return archive([*entries, code, Entry(b"m/data/0", bytes(16)), *more])


OBJECT = b"c__torch__\nM\n)\x81"
for word, content in {
    "module-in-itself": script(OBJECT + b"q\0" + mapping(inner=b"h\0", w=tensor()) + b"b"),
    "call": script(PAYLOAD),
    "call-in-constants": script(OBJECT + mapping(w=tensor()) + b"b", PROTO2 + PAYLOAD + STOP),
    "code-bomb": script(OBJECT + mapping(w=tensor()) + b"b", PROTO2 + b")" + STOP,
                        Entry(b"m/code/big.py", bytes(100_000_000), method=8)),
    "extra-traversal": script(OBJECT + mapping(w=tensor()) + b"b", PROTO2 + b")" + STOP,
                              Entry(b"m/extra/../../x", b"")),
}.items():  # fmt: skip
    single(f"torchscript/{word}", content, file="model.pt")


def pt2(weights: object, **members: bytes) -> bytes:
    """An archive of `torch.export`."""
    entries = [
        Entry(b"m/archive_format", b"pt2"),
        Entry(b"m/archive_version", b"0"),
        Entry(b"m/models/model.json", b"{}"),
        Entry(b"m/data/weights/model_weights_config.json", json.dumps({"config": weights}).encode()),
        Entry(b"m/data/weights/weight_0", bytes(16)),
    ]
    return archive([*entries, *(Entry(name.encode(), value) for name, value in members.items())])


def weight(
    path: str = "weight_0", sizes: tuple[int, ...] = (4,), strides: tuple[int, ...] = (1,), **more: object
) -> dict:
    """An entry of its list of weights."""
    meta = {
        "dtype": 7,
        "sizes": [{"as_int": extent} for extent in sizes],
        "strides": [{"as_int": step} for step in strides],
        "storage_offset": {"as_int": more.pop("offset", 0)},
        "layout": 7,
    }
    return {"w": {"path_name": path, "is_param": True, "use_pickle": False, "tensor_meta": meta, **more}}


for word, content in {
    "path-traversal": pt2(weight("../../../../etc/passwd")),
    "path-missing": pt2(weight("weight_7")),
    "stride-outside": pt2(weight(strides=(1000,))),
    "shape-overflow": pt2(weight(sizes=(2**40, 2**40), strides=(0, 0))),
    "shape-negative": pt2(weight(sizes=(-4,))),
    "expanded-bomb": pt2(weight(sizes=(2**40,), strides=(0,))),
    "offset-outside": pt2(weight(offset=2**62)),
    "call": pt2(weight(use_pickle=True), **{"m/data/sample_inputs/model.pt": torch_zip(PAYLOAD)}),
    "weights-nested": archive(
        [
            Entry(b"m/archive_format", b"pt2"),
            Entry(b"m/data/weights/model_weights_config.json", b'{"config":' * 100_000),
        ]
    ),
}.items():
    single(f"pt2/{word}", content, file="model.pt2")


# Folders.

GOOD = safetensors({"w": entry([2], 0, 8)}, bytes(8))


Fill = Callable[[Path], None]


def folder(name: str) -> Callable[[Fill], Fill]:
    """Registers a function that adds to a folder with good weights."""

    def register(fill: Fill) -> Fill:
        def write(place: Path) -> str:
            target = place / "model"
            target.mkdir()
            (target / "model.safetensors").write_bytes(GOOD)
            fill(target)
            return "model"

        attack(f"folder/{name}", names=name.startswith("name-"))(write)
        return fill

    return register


@folder("pipe")
def _(target: Path) -> None:
    os.mkfifo(target / "optimizer.pt")


@folder("pipe-instead-of-weights")
def _(target: Path) -> None:
    (target / "model.safetensors").unlink()
    os.mkfifo(target / "model.safetensors")


@folder("device")
def _(target: Path) -> None:
    os.symlink("/dev/zero", target / "pytorch_model.bin")


@folder("link-outside")
def _(target: Path) -> None:
    os.symlink("/etc/passwd", target / "config.json")


@folder("link-to-itself")
def _(target: Path) -> None:
    os.symlink("model.safetensors.link", target / "model.safetensors.link")


@folder("link-to-parent")
def _(target: Path) -> None:
    os.symlink("..", target / "again")


@folder("deep")
def _(target: Path) -> None:
    (target / "/".join(["d"] * 400)).mkdir(parents=True)


@folder("many-files")
def _(target: Path) -> None:
    for place in range(20_000):
        (target / f"f{place}").touch()


@folder("folder-instead-of-file")
def _(target: Path) -> None:
    (target / "config.json").mkdir()


@folder("name-not-utf8")
def _(target: Path) -> None:
    (Path(os.fsdecode(os.fsencode(target) + b"/w\xff\xfe.safetensors"))).write_bytes(GOOD)


for word, evil in EVIL_NAMES.items():
    if word not in ("nul", "traversal"):

        def fill(target: Path, evil: str = evil) -> None:
            """A file with such a name."""
            (target / f"{evil}.safetensors").write_bytes(GOOD)

        folder(f"name-{word}")(fill)


@folder("remote-code")
def _(target: Path) -> None:
    config = {"model_type": "x", "auto_map": {"AutoModel": "modeling_x.X"}}
    (target / "config.json").write_text(json.dumps(config))
    (target / "modeling_x.py").write_text("import os\nos.mkdir('pwned')\n")


@folder("trainer-arguments")
def _(target: Path) -> None:
    (target / "training_args.bin").write_bytes(torch_zip(PAYLOAD))
    (target / "optimizer.pt").write_bytes(torch_zip(PAYLOAD))


single(
    "polyglot/safetensors-zip",
    safetensors({"w": entry([len(WEIGHTS)], 0, len(WEIGHTS), "U8")}, WEIGHTS),
    file="model.pt",
)
single("polyglot/pickle-zip", PROTO2 + PAYLOAD + STOP + WEIGHTS, file="model.pt")
single("polyglot/gguf-zip", b"GGUF" + bytes(20) + WEIGHTS, file="model.gguf")
single("empty/file", b"", file="model.safetensors")
single("empty/zeros", bytes(1000), file="model.pt")
single(
    "empty/text",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12\n",
    file="model.bin",
)
