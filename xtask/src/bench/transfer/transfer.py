"""What the benchmark of transfers needs of Python: weights, and hf-xet without a hub."""

import importlib.metadata
import json
import struct
import sys


def weights(length: str, seed: str, path: str) -> None:
    """Writes a safetensors file of one bf16 tensor of normal weights."""
    import numpy

    count = (int(length) - 200) // 2
    header = json.dumps({"weight": {"dtype": "BF16", "shape": [count], "data_offsets": [0, 2 * count]}}).encode()
    header = header.ljust(int(length) - 8 - 2 * count)
    random = numpy.random.default_rng(int(seed))
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        while count > 0:
            block = random.standard_normal(min(count, 1 << 24), dtype=numpy.float32) * numpy.float32(0.02)
            file.write((block.view(numpy.uint32) >> 16).astype("<u2").tobytes())
            count -= len(block)


def insert(offset: str, path: str) -> None:
    """Inserts 18 bytes."""
    with open(path, "r+b") as file:
        file.seek(int(offset))
        rest = file.read()
        file.seek(int(offset))
        file.write(b"eighteen new bytes" + rest)


def upload_alone(path: str, store: str) -> None:
    """Lets hf-xet write a file to a store of its own."""
    import hf_xet

    hf_xet.upload_files([path], f"local://{store}", None, None, None, "model")


def versions() -> None:
    """Prints the versions of the clients."""
    names = ("huggingface_hub", "hf-xet")
    print(", ".join(f"{name} {importlib.metadata.version(name)}" for name in names))


COMMANDS = {"weights": weights, "insert": insert, "upload-alone": upload_alone, "versions": versions}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])
