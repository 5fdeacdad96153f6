"""What `cargo xtask bench read` needs of Python: files to read, and the peers that read them."""

import json
import os
import pickle
import random
import struct
import sys
import time

LAYERS = 32
PLAN = [("attn.q", 1), ("attn.k", 1), ("attn.v", 1), ("attn.o", 1), ("mlp.up", 4), ("mlp.down", 4)]


def shapes(total_bytes, width):
    """Names and shapes of a small transformer whose weights take at least `total_bytes`."""
    hidden = (int((total_bytes / width / LAYERS / sum(times for _, times in PLAN)) ** 0.5) // 64 + 1) * 64
    for layer in range(LAYERS):
        for name, times in PLAN:
            yield f"model.layers.{layer}.{name}.weight", (hidden * times, hidden)


def product(shape):
    return shape[0] * shape[1]


def versions():
    from importlib.metadata import version

    print(f"Python {sys.version.split()[0]}, numpy {version('numpy')}, picklescan {version('picklescan')}")


def safetensors_header(total_bytes, dtype, width):
    header, at = {}, 0
    for name, shape in shapes(total_bytes, width):
        end = at + product(shape) * width
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, at


def sparse_safetensors(path, total_bytes):
    header, data = safetensors_header(int(total_bytes), "BF16", 2)
    with open(path, "wb") as file:
        file.write(header)
        file.truncate(len(header) + data)


def sparse_gguf(path, total_bytes):
    def text(value):
        return struct.pack("<Q", len(value)) + value.encode()

    tensors = [(name, shape) for name, shape in shapes(int(total_bytes), 2)]
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), 3)
    head += text("general.architecture") + struct.pack("<I", 8) + text("llama")
    head += text("llama.block_count") + struct.pack("<II", 4, LAYERS)
    words = [f"word{number}" for number in range(32_000)]
    head += text("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, len(words)) + b"".join(map(text, words))
    at = 0
    for name, shape in tensors:
        head += text(name) + struct.pack("<IQQIQ", 2, shape[1], shape[0], 1, at)
        at += product(shape) * 2
    head += b"\0" * (-len(head) % 32)
    with open(path, "wb") as file:
        file.write(head)
        file.truncate(len(head) + at)


def sparse_pt(path, total_bytes):
    """A zip as `torch.save` writes it, without checksums, which torch can be told to leave out."""

    def text(value):
        return b"X" + struct.pack("<I", len(value)) + value.encode()

    def number(value):
        return b"J" + struct.pack("<i", value)

    tensors = list(shapes(int(total_bytes), 2))
    body = b"\x80\x02}("
    for key, (name, shape) in enumerate(tensors):
        body += text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage")
        body += b"ctorch\nBFloat16Storage\n" + text(str(key)) + text("cpu") + number(product(shape)) + b"tQK\0"
        body += b"".join(map(number, shape)) + b"\x86" + number(shape[1]) + b"K\x01\x86"
        body += b"\x89ccollections\nOrderedDict\n)RtR"
    body += b"u."
    members = [("archive/data.pkl", body, len(body)), ("archive/byteorder", b"little", 6)]
    members += [(f"archive/data/{key}", None, product(shape) * 2) for key, (_, shape) in enumerate(tensors)]
    members += [("archive/version", b"3\n", 2)]
    directory = b""
    with open(path, "wb") as file:
        for name, content, size in members:
            begin, encoded = file.tell(), name.encode()
            pad = -(begin + 30 + len(encoded) + 4) % 64
            extra = b"FB" + struct.pack("<H", pad) + b"Z" * pad
            common = struct.pack("<HHHHIIIHH", 0, 0, 0, 0, 0, size, size, len(encoded), len(extra))
            file.write(b"PK\x03\x04\x00\x00" + common + encoded + extra)
            file.write(content) if content else file.seek(size, os.SEEK_CUR)
            common = struct.pack("<HHHHIIIHH", 0, 0, 0, 0, 0, size, size, len(encoded), 0)
            directory += b"PK\x01\x02\x00\x00\x00\x00" + common + b"\0" * 10 + struct.pack("<I", begin) + encoded
        begin = file.tell()
        counts = struct.pack("<HHII", len(members), len(members), len(directory), begin)
        file.write(directory + b"PK\x05\x06\0\0\0\0" + counts + b"\0\0")


def weights(path, dtype, total_bytes):
    """A safetensors file of normally distributed weights."""
    import numpy as np

    width = 2 if dtype == "BF16" else 4
    header, data = safetensors_header(int(total_bytes), dtype, width)
    chance = np.random.Generator(np.random.SFC64(1))
    with open(path, "wb") as file:
        file.write(header)
        left = data // width
        while left:
            part = chance.standard_normal(min(left, 1 << 24), dtype=np.float32)
            left -= len(part)
            bits = part.view(np.uint32)
            file.write((bits >> 16).astype(np.uint16).tobytes() if width == 2 else bits.tobytes())


def numpy_stats(path):
    """Statistics of every tensor over a memory map, as one would write it; prints the seconds."""
    import numpy as np

    began = time.perf_counter()
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    mapped = np.memmap(path, np.uint8, "r", offset=8 + length)
    total = 0
    for name, tensor in header.items():
        begin, end = tensor["data_offsets"]
        values = mapped[begin:end].view(np.uint16 if tensor["dtype"] == "BF16" else np.float32)
        if tensor["dtype"] == "BF16":
            values = (values.astype(np.uint32) << 16).view(np.float32)
        stats = [values.min(), values.max(), values.mean(), values.std(), np.count_nonzero(values == 0)]
        stats += [np.count_nonzero(np.isnan(values)), np.count_nonzero(np.isinf(values)), np.linalg.norm(values)]
        total += len(values)
    print(time.perf_counter() - began)


def pickled(path, total_bytes):
    """A list of records: dictionaries, text, numbers, lists, tuples; nothing but opcodes."""
    chance = random.Random(1)
    records = []

    def record(number):
        return {
            "id": number,
            "score": chance.random(),
            "tags": [f"tag{chance.randrange(1 << 24):06x}" for _ in range(3)],
            "pair": (number & 255, None, True),
        }

    records = [record(number) for number in range(1000)]
    each = len(pickle.dumps(records, 4)) / len(records)
    records = [record(number) for number in range(int(int(total_bytes) / each) + 1000)]
    data = pickle.dumps(records, 4)
    with open(path, "wb") as file:
        file.write(data)


def scan(path):
    """Seconds of picklescan, of `pickletools.genops` alone, and of loading, in this order."""
    import io
    import pickletools

    from picklescan.scanner import scan_pickle_bytes

    with open(path, "rb") as file:
        data = file.read()
    began = time.perf_counter()
    scan_pickle_bytes(io.BytesIO(data), path)
    scanned = time.perf_counter()
    for _ in pickletools.genops(data):
        pass
    listed = time.perf_counter()
    pickle.loads(data)
    print(scanned - began, listed - scanned, time.perf_counter() - listed)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
