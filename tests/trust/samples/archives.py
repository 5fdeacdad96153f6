"""Archives: what readers stumble over, and what hides in them."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

from samples.build import PAYLOAD, SYSTEM, patched, pickled, sample, single, text, torch_zip

EVIL = torch_zip(pickled(SYSTEM))
GOOD = torch_zip(pickled(b"}"))
LOCAL, CENTRAL = b"PK\x03\x04", b"PK\x01\x02"

single("torch/zip", EVIL, "unsafe", file="model.pt", family="commands")
single("torch/zip-named-bin", EVIL, "unsafe", file="pytorch_model.bin", family="CVE-2025-10155")
single("torch/pickle-named-pt", pickled(SYSTEM), "unsafe", file="model.pt", family="CVE-2025-10155")
single("torch/odd-ending", torch_zip(b"}.", more={"archive/config.p": pickled(SYSTEM)}), "unsafe", file="model.pt", family="CVE-2025-1889")
single("torch/extra", torch_zip(b"\x80\x02}.", more={"archive/extra/notes": pickled(SYSTEM)}), "unsafe", file="model.pt", family="CVE-2025-1889")
single("torch/name-mismatch", patched(EVIL, LOCAL, 30, b"archive/data.pkx"), "unsafe", file="model.pt", family="CVE-2025-1944")
single("torch/crc", patched(patched(EVIL, LOCAL, 14, b"\1\2\3\4"), CENTRAL, 16, b"\1\2\3\4"), "unsafe", file="model.pt", family="CVE-2025-10156")
for flag in (0x1, 0x20, 0x40):
    single(f"torch/flag-{flag:#x}", patched(EVIL, LOCAL, 6, struct.pack("<H", flag)), "unsafe", file="model.pt", family="CVE-2025-1945")
    single(f"torch/flag-{flag:#x}-directory", patched(EVIL, CENTRAL, 8, struct.pack("<H", flag)), "unsafe", file="model.pt", family="CVE-2025-1945")
single("torch/crc-of-good", patched(GOOD, CENTRAL, 16, b"\1\2\3\4"), "suspicious", file="model.pt", family="CVE-2025-10156")
single("torch/prefix", b"#!/bin/sh\nexit\n" + EVIL, "unsafe", file="model.pt", family="polyglot")
single("torch/pickle-and-zip", pickled(SYSTEM) + GOOD, "unsafe", file="model.pt", family="polyglot")
single("torch/good-pickle-and-good-zip", pickled(b"}") + GOOD, "suspicious", file="model.pt", family="polyglot")
single("torch/7z", b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(64), "error", file="model.pt", family="nullifAI")
single("torch/truncated", EVIL[: len(EVIL) - 30], "suspicious", file="model.pt", family="broken archives")
single("torch/storage-size", torch_zip(
    b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu")
    + b"K\x7ftQK\x00K\x7f\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtR.",
    more={"archive/data/0": bytes(8)},
), "suspicious", file="model.pt", family="CVE-2026-24747")  # fmt: skip

TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu")
    + b"K\x02tQK\x00K\x02\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtR"
)  # fmt: skip
"""A tensor of two elements, whose storage is `data/0`."""
for name, more in {"call": SYSTEM, "unknown": b"cevil\nNet\n)R", "partial": b"cfunctools\npartial\ncos\nsystem\n\x85R"}.items():
    single(
        f"convert/{name}",
        torch_zip(b"\x80\x04}(" + text("w") + TENSOR + text("more") + more + b"u.", more={"archive/data/0": bytes(range(8))}),
        "suspicious" if name == "unknown" else "unsafe",
        file="model.pt",
        family="conversions",
    )


ALONE = lzma.compress(pickled(SYSTEM), lzma.FORMAT_ALONE)
NOISE = b"".join(b"K%c0" % (n * n * n % 251 ^ n >> 7 & 0xFF) for n in range(20_000))
RUN_THEN_NOISE = pickled(SYSTEM + b"0" + NOISE + b"N")
"""What is run at once, and bytes behind it in which a stream can be damaged."""
for name, data, expected in [
    ("xz", lzma.compress(pickled(SYSTEM)), "unsafe"),
    ("bz2", bz2.compress(pickled(SYSTEM)), "unsafe"),
    ("lzma", ALONE, "unsafe"),
    ("lzma-of-known-length", ALONE[:5] + struct.pack("<Q", len(pickled(SYSTEM))) + ALONE[13:], "unsafe"),
    ("lzma-large-dictionary", ALONE[:1] + struct.pack("<I", 0xC0000000) + ALONE[5:], "error"),
    ("xz-in-bz2", bz2.compress(lzma.compress(pickled(SYSTEM))), "unsafe"),
    ("xz-of-zip", lzma.compress(EVIL), "unsafe"),
    # Blocks of xz are decoded whole, so that nothing is known of what stands before the damage.
    ("xz-cut", lzma.compress(RUN_THEN_NOISE)[:-900], "error"),
    ("lzma-cut", lzma.compress(RUN_THEN_NOISE, lzma.FORMAT_ALONE)[:-900], "unsafe"),
    ("gzip-cut", gzip.compress(RUN_THEN_NOISE)[:-900], "unsafe"),
    ("zlib-cut", zlib.compress(RUN_THEN_NOISE)[:-900], "unsafe"),
    ("good-cut", lzma.compress(pickled(b"]" + NOISE.replace(b"0", b"a")))[:-900], "error"),
]:
    single(f"joblib/{name}", data, expected, file="model.joblib", family="CVE-2024-34997")


@sample("joblib/xz-bomb", "error", "bombs")
def bomb(folder: Path) -> str:
    """Zeros, five thousand times as many as are stored."""
    (folder / "model.joblib").write_bytes(lzma.compress(bytes(64 << 20), preset=0))
    return "model.joblib"


@sample("torch/duplicate", "unsafe", "duplicates")
def duplicate(folder: Path) -> str:
    """Two members of one name: Python takes the last, others the first."""
    import warnings

    with warnings.catch_warnings(), zipfile.ZipFile(folder / "model.pt", "w") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("archive/data.pkl", pickled(SYSTEM))
        archive.writestr("archive/data.pkl", pickled(b"}"))
    return "model.pt"


@sample("torch/hidden-member", "unsafe", "hidden members")
def hidden(folder: Path) -> str:
    """A local header that the directory does not list."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a", pickled(SYSTEM))
    evil = out.getvalue()[: out.getvalue().index(CENTRAL)]
    at = GOOD.index(LOCAL, 4)
    shifted = bytearray(GOOD[:at] + evil + GOOD[at:])
    second = shifted.index(CENTRAL, shifted.index(CENTRAL) + 4)
    shifted[second + 42 : second + 46] = struct.pack("<I", at + len(evil))
    end = shifted.rindex(b"PK\x05\x06")
    shifted[end + 16 : end + 20] = struct.pack("<I", struct.unpack("<I", shifted[end + 16 : end + 20])[0] + len(evil))
    (folder / "model.pt").write_bytes(shifted)
    return "model.pt"


def legacy(body: bytes, tail: bytes = b"") -> bytes:
    """What `torch.save` wrote before 1.6, without storages."""
    head = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}" + text("little_endian") + b"\x88s."
    return head + body + b"\x80\x02]." + tail


single("torch-legacy/call", legacy(pickled(SYSTEM)), "unsafe", file="model.pth", family="commands")
single("torch-legacy/trailing", legacy(pickled(b"}"), pickled(SYSTEM)), "unsafe", file="model.pth", family="trailing data")
single("torch-legacy/good", legacy(pickled(b"}")), "safe", file="model.pth")


def tar(members: list[tuple[str, bytes | None, str]]) -> bytes:
    """A tar: names, contents, targets of links."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data, link in members:
            info = tarfile.TarInfo(name)
            if data is None:
                info.type, info.linkname = tarfile.SYMTYPE, link
                archive.addfile(info)
            else:
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


single("torch-tar/call", tar([("sys_info", b"\x80\x02}.", ""), ("pickle", pickled(SYSTEM), ""), ("storages", b"\x80\x02K\0.", ""), ("tensors", b"\x80\x02K\0.", "")]), "unsafe", file="model.pt", family="CVE-2025-32434")  # fmt: skip
single("nemo/weights", tar([("model_config.yaml", b"target: nemo.x.Y\n", ""), ("model_weights.ckpt", EVIL, "")]), "unsafe", file="model.nemo", family="CVE-2024-0129")
single("nemo/target", tar([("model_config.yaml", b"encoder:\n  _target_: os.system\n  command: mkdir pwned\n", "")]), "unsafe", file="model.nemo", family="CVE-2025-23304")
single("nemo/traversal", tar([("../../.bashrc", b"mkdir pwned\n", "")]), "unsafe", file="model.nemo", family="CVE-2024-0129")
single("nemo/below-link", tar([("a", None, "/tmp"), ("a/b", b"x", "")]), "unsafe", file="model.nemo", family="CVE-2025-23250")
single("nemo/link", tar([("a", None, "/etc/passwd")]), "suspicious", file="model.nemo", family="CVE-2025-23250")
single("tar/absolute", tar([("/tmp/pwned", b"x", "")]), "unsafe", file="model.tar", family="CVE-2024-5187")
single("gzip/pickle", gzip.compress(pickled(SYSTEM)), "unsafe", file="model.pkl.gz", family="compressed")
single("gzip/second-member", gzip.compress(pickled(b"N")) + gzip.compress(pickled(SYSTEM)), "unsafe", file="model.pkl.gz", family="compressed")
single("zip/nested", torch_zip(EVIL, name="a.zip"), "unsafe", file="model.zip", family="archives in archives")
single("zip/traversal", torch_zip(b"x", name="../a"), "suspicious", file="model.zip", family="names")
single(
    "torchscript/from-file",
    torch_zip(b"\x80\x02).", name="m/constants.pkl", more={"m/data.pkl": b"\x80\x02c__torch__\nNet\n)\x81}b.", "m/code/__torch__.py": b"  x = torch.from_file('/etc/passwd')\n"}),
    "unsafe",
    file="model.pt",
    family="CVE-2022-45907",
)
assert PAYLOAD
