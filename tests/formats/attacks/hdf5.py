"""HDF5, written by h5py: links to other files, cycles, and data that is much larger than its file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from attacks.build import EVIL_NAMES, attack

Fill = Callable[[Any, Any, Path], None]


def file(name: str, *, names: bool = False, **options: Any) -> Callable[[Fill], Fill]:
    """Registers a function that fills an open file, given h5py, the file and its folder."""

    def register(fill: Fill) -> Fill:
        def write(folder: Path) -> str:
            import h5py

            target = folder / "model"
            target.mkdir()
            with h5py.File(target / "model.weights.h5", "w", **options) as opened:
                opened.create_dataset("layers/dense/vars/0", data=[1.0, 2.0])
                fill(h5py, opened, folder)
            return "model/model.weights.h5"

        attack(f"hdf5/{name}", names=names)(write)
        return fill

    return register


def secret(h5py: Any, folder: Path) -> None:
    """A file that nothing may read."""
    with h5py.File(folder / "secret.h5", "w") as opened:
        opened["w"] = [1.0, 2.0]


@file("external-link")
def _(h5py: Any, opened: Any, folder: Path) -> None:
    secret(h5py, folder)
    opened["layers/dense/vars/1"] = h5py.ExternalLink("../secret.h5", "w")


@file("external-link-absolute")
def _(h5py: Any, opened: Any, folder: Path) -> None:
    secret(h5py, folder)
    opened["layers/dense/vars/1"] = h5py.ExternalLink(str((folder / "secret.h5").absolute()), "w")


@file("external-link-to-itself")
def _(h5py: Any, opened: Any, _: Path) -> None:
    opened["again"] = h5py.ExternalLink("model.weights.h5", "/")


@file("external-storage")
def _(_: Any, opened: Any, __: Path) -> None:
    opened.create_dataset("layers/dense/vars/1", (16,), "u1", external=[("/etc/passwd", 0, 16)])


@file("external-storage-device")
def _(_: Any, opened: Any, __: Path) -> None:
    opened.create_dataset("layers/dense/vars/1", (2**40,), "u1", external=[("/dev/zero", 0, 2**40)])


@file("virtual", libver="latest")
def _(h5py: Any, opened: Any, folder: Path) -> None:
    secret(h5py, folder)
    layout = h5py.VirtualLayout((2,), "f8")
    layout[:] = h5py.VirtualSource("../secret.h5", "w", (2,))
    opened.create_virtual_dataset("layers/dense/vars/1", layout)


@file("soft-link-to-itself")
def _(h5py: Any, opened: Any, _: Path) -> None:
    opened["a"] = h5py.SoftLink("/a")


@file("soft-links-in-a-circle")
def _(h5py: Any, opened: Any, _: Path) -> None:
    opened["a"], opened["b"] = h5py.SoftLink("/b"), h5py.SoftLink("/a")


@file("soft-link-to-root")
def _(h5py: Any, opened: Any, _: Path) -> None:
    opened["layers/root"] = h5py.SoftLink("/")


@file("group-in-itself")
def _(_: Any, opened: Any, __: Path) -> None:
    opened["layers/again"] = opened["layers"]


@file("groups-doubling")
def _(_: Any, opened: Any, __: Path) -> None:
    group = opened.create_group("g0")
    for place in range(1, 60):
        outer = opened.create_group(f"g{place}")
        outer["a"], outer["b"] = group, group
        group = outer


@file("groups-deep", libver="latest")
def _(_: Any, opened: Any, __: Path) -> None:
    group = opened
    for _step in range(3000):
        group = group.create_group("g")
    group["w"] = [1.0]


@file("many-datasets", libver="latest")
def _(_: Any, opened: Any, __: Path) -> None:
    for place in range(5000):
        opened.create_dataset(f"layers/d{place}", (0,), "f4")


@file("never-written-bomb")
def _(_: Any, opened: Any, __: Path) -> None:
    opened.create_dataset("layers/dense/vars/1", (2**42,), "f4", chunks=(2**20,), fillvalue=1.0)


@file("never-written-contiguous")
def _(_: Any, opened: Any, __: Path) -> None:
    opened.create_dataset("layers/dense/vars/1", (2**42,), "f4")


@file("deflate-bomb")
def _(_: Any, opened: Any, __: Path) -> None:
    import numpy

    data = numpy.zeros(75_000_000, "f4")
    opened.create_dataset("layers/dense/vars/1", data=data, chunks=data.shape, compression="gzip", compression_opts=9)


@file("tiny-chunks")
def _(_: Any, opened: Any, __: Path) -> None:
    opened.create_dataset("layers/dense/vars/1", (2**34,), "f4", chunks=(1,))


@file("attribute-large", libver="latest")
def _(_: Any, opened: Any, __: Path) -> None:
    opened.attrs["model_config"] = "[" * 5_000_000


@file("attributes-many", libver="latest")
def _(_: Any, opened: Any, __: Path) -> None:
    for place in range(5000):
        opened.attrs[f"model_config{place}"] = "x"


@file("references")
def _(h5py: Any, opened: Any, _: Path) -> None:
    opened.create_dataset("refs", data=[opened["layers"].ref], dtype=h5py.ref_dtype)


@file("compound")
def _(_: Any, opened: Any, __: Path) -> None:
    import numpy

    opened["mixed"] = numpy.zeros(3, [("a", "f4"), ("b", "S5")])


for word, evil in EVIL_NAMES.items():
    if word not in ("nul", "traversal"):

        def fill(_: Any, opened: Any, __: Path, evil: str = evil) -> None:
            """A dataset with such a name."""
            opened[f"layers/{evil}"] = [1.0]

        file(f"name-{word}", names=True)(fill)


def damaged(name: str, change: Callable[[bytearray], None]) -> None:
    """Registers a file of h5py with changed bytes."""

    def write(folder: Path) -> str:
        import h5py

        path = folder / "model.weights.h5"
        with h5py.File(path, "w") as opened:
            opened.create_dataset("layers/dense/vars/0", data=[1.0, 2.0])
            opened.create_dataset("c", data=[1.0] * 64, chunks=(8,))
            opened.attrs["a"] = "b"
        data = bytearray(path.read_bytes())
        change(data)
        path.write_bytes(data)
        return "model.weights.h5"

    attack(f"hdf5/damaged-{name}")(write)


def put(at: int, value: bytes) -> Callable[[bytearray], None]:
    """Writes bytes at a place."""

    def change(data: bytearray) -> None:
        data[at : at + len(value)] = value

    return change


def every(word: bytes, at: int, value: bytes) -> Callable[[bytearray], None]:
    """Writes bytes after each occurrence of a signature."""

    def change(data: bytearray) -> None:
        place = data.find(word)
        while place >= 0:
            data[place + at : place + at + len(value)] = value
            place = data.find(word, place + 1)

    return change


damaged("cut", lambda data: data.__delitem__(slice(300, None)))
damaged("size-of-offsets", put(13, b"\x10\x10"))
damaged("size-of-offsets-zero", put(13, b"\0\0"))
damaged("base-address", put(24, b"\xff" * 7 + b"\x7f"))
damaged("root-address", put(64, b"\xf0" * 8))
damaged("root-is-superblock", put(64, bytes(8)))
damaged("tree-counts", every(b"TREE", 6, b"\xff\xff"))
damaged("tree-levels", every(b"TREE", 5, b"\xff"))
damaged("tree-children", every(b"TREE", 32, b"\x60" + bytes(7)))
damaged("tree-siblings", every(b"TREE", 8, b"\x88\0\0\0\0\0\0\0" * 2))
damaged("heap-address", every(b"HEAP", 24, b"\xff" * 8))
damaged("heap-size", every(b"HEAP", 8, b"\xff" * 8))
damaged("heap-free-list", every(b"HEAP", 16, bytes(8)))
damaged("symbols-count", every(b"SNOD", 6, b"\xff\xff"))
damaged("symbols-names", every(b"SNOD", 8, b"\xff" * 8))
damaged("version", put(8, b"\x09"))
