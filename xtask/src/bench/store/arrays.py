"""Arrays for the bench of stored sizes, all from seeds.

    arrays.py family FOLDER BYTES   base, full, frozen and next: four bf16 versions of one model, a safetensors file each
    arrays.py triple FOLDER BYTES   the same bf16 weights as .bin, .safetensors and .gguf
    arrays.py gguf FOLDER BYTES     the same weights as Q8_0 and as Q4_K
    arrays.py large FILE BYTES      bf16 weights of that size, a torch zip if FILE ends in .bin
    arrays.py law BYTES             prints the bytes that base, full, frozen and next take at least, by the law that made them
    arrays.py entropy WORD FILE...  prints the bytes of the ideal order-0 code of byte planes, and the bytes of the files

How the family is made. Weights are normal, with a scale for each matrix (one over the root of its width) and a factor for
each row (log-normal, 0.3). The fine-tune loads the bf16 base, trains in fp32 and saves bf16. What AdamW changes was
measured on the MiniLM that the bench of the codec trains: the logarithm of an element's change does not depend on the
element's own (correlation 0.001), rows differ little in the linear layers (2.51 of a variance of 2.54 lies within rows),
and seven tenths of the rows of word vectors only decay. So a change is normal, of 1.5e-4 with a log-normal factor of 0.35
for each row, independent of the weight; how many last places that is follows from the exponent of the weight. Words that
no text has decay by 4e-5 of their values. The frozen fine-tune changes the last layer and the last norm only, by three
times as much; the next step is the full fine-tune with a further change of 0.4 times the size.
"""

import json
import os
import struct
import sys

import numpy

CHANGE = 1.5e-4
DECAY = 4e-5


def layout(total_bytes):
    """Names and shapes of a decoder of about so many bytes in bf16, rows first."""
    width = 2048 if total_bytes > 400e6 else 512
    inner, words = width * 5 // 2, 16 * width
    layer = {f"{name}_proj": (width, width) for name in "qkvo"}
    layer |= {"gate_proj": (inner, width), "up_proj": (inner, width), "down_proj": (width, inner), "norm": (1, width)}
    in_layer = sum(rows * columns for rows, columns in layer.values())
    layers = max(2, round((total_bytes / 2 - words * width) / in_layer))
    shapes = {"model.embed_tokens.weight": (words, width)}
    for i in range(layers):
        shapes |= {f"model.layers.{i}.{name}.weight": shape for name, shape in layer.items()}
    return shapes | {"model.norm.weight": (1, width)}, layers


def random(*seed):
    return numpy.random.default_rng(seed)


def normal(generator, shape):
    return generator.standard_normal(shape, dtype=numpy.float32)


def rounded(values):
    """The nearest bf16 numbers as 16-bit words."""
    bits = values.view(numpy.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def widened(words):
    return (words.astype(numpy.uint32) << 16).view(numpy.float32)


def base(at, shape):
    rows, columns = shape
    if rows == 1:
        return rounded(1 + numpy.float32(0.05) * normal(random(1, at), shape))
    generator = random(1, at)
    scale = spread(at, shape, generator)
    return rounded(normal(generator, shape) * scale)


def spread(at, shape, generator=None):
    """How large the weights of each row are."""
    generator = generator or random(1, at)
    return numpy.exp(numpy.float32(0.3) * normal(generator, (shape[0], 1))) / numpy.float32(shape[1] ** 0.5)


def changed(seed, at, name, shape, generator=None):
    """How far the weights of each row move."""
    generator = generator or random(seed, at)
    sizes = numpy.float32(CHANGE) * numpy.exp(numpy.float32(0.35) * normal(generator, (shape[0], 1)))
    if "embed" in name:
        sizes *= generator.random((shape[0], 1)) < 0.3
    return sizes


def change(seed, at, name, shape):
    generator = random(seed, at)
    sizes = changed(seed, at, name, shape, generator)
    return normal(generator, shape) * sizes


def write(path, shapes, tensors):
    """A safetensors file, one tensor in memory at a time."""
    header, at = {}, 0
    for name, shape in shapes.items():
        size = 2 * shape[0] * shape[1]
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for words in tensors:
            file.write(words.tobytes())


def family(folder, total_bytes):
    shapes, layers = layout(int(total_bytes))

    def versions(version):
        for at, (name, shape) in enumerate(shapes.items()):
            words = base(at, shape)
            last = f".layers.{layers - 1}." in name or name == "model.norm.weight"
            if version == "frozen" and last:
                words = rounded(widened(words) + 3 * change(4, at, name, shape))
            if version in ("full", "next"):
                master = widened(words) * numpy.float32(1 - DECAY) + change(2, at, name, shape)
                if version == "next":
                    master += numpy.float32(0.4) * change(3, at, name, shape)
                words = rounded(master)
            yield words

    for version in ("base", "full", "frozen", "next"):
        write(os.path.join(folder, f"{version}.safetensors"), shapes, versions(version))


def within(low, high, sizes):
    """Probability of normal numbers of these sizes between two bounds; of size 0 they are 0."""
    import torch

    tail = lambda bound: torch.special.ndtr(torch.from_numpy(-abs(bound) / numpy.maximum(sizes, 1e-30))).numpy()
    one, other = tail(low), tail(high)
    apart = numpy.where((low < 0) & (high > 0), 1 - one - other, abs(one - other))
    return numpy.where(sizes > 0, apart, (low <= 0) & (0 <= high))


def cells(words):
    """Bounds between which numbers become these bf16 words."""
    sizes = (words & 0x7FFF).astype(numpy.uint32)
    value, above, below = (widened(size).astype(float) for size in (sizes, sizes + 1, numpy.maximum(sizes, 1) - 1))
    near, far = (value + numpy.where(sizes > 0, below, -above)) / 2, (value + above) / 2
    negative = words >> 15 == 1
    return numpy.where(negative, -far, near), numpy.where(negative, -near, far)


def law(total_bytes):
    """Each number given all that it depends on: the sizes of its row, and the versions before. No coder knows those sizes."""
    shapes, layers = layout(int(total_bytes))
    bits, parts = 0.0, 12
    for at, (name, shape) in enumerate(shapes.items()):
        if shape[0] == 1:
            continue
        count = min(shape[0], 96)
        few = numpy.linspace(0, shape[0] - 1, count).astype(int)
        changes = {seed: (change(seed, at, name, shape)[few], changed(seed, at, name, shape)[few]) for seed in (2, 3, 4)}
        words, scales = base(at, shape)[few], spread(at, shape)[few]
        start = widened(words).astype(float) * (1 - DECAY)
        master = widened(words) * numpy.float32(1 - DECAY) + changes[2][0]
        full, after = rounded(master), rounded(master + numpy.float32(0.4) * changes[3][0])
        low, high = cells(full)
        chances = [within(*cells(words), scales), within(low - start, high - start, changes[2][1])]
        # The master of the fine-tune lies anywhere in its cell, as likely as its change is.
        alike, likely = 0.0, 0.0
        for part in range(parts):
            place = low + (high - low) * (part + 0.5) / parts
            place = numpy.where(changes[2][1] > 0, place, start)
            weight = numpy.exp(-(((place - start) / numpy.maximum(changes[2][1], 1e-30)) ** 2) / 2) + 1e-300
            next_low, next_high = cells(after)
            alike = alike + weight * within(next_low - place, next_high - place, 0.4 * changes[3][1])
            likely = likely + weight
        chances.append(alike / likely)
        if f".layers.{layers - 1}." in name:
            low, high = cells(rounded(widened(words) + 3 * changes[4][0]))
            chances.append(within(low - widened(words), high - widened(words), 3 * changes[4][1]))
        for chance in chances:
            bits -= numpy.log2(numpy.maximum(chance, 1e-9)).sum() * shape[0] / count
    print(bits / 8)


def large(path, total_bytes):
    shapes, _ = layout(int(total_bytes))
    words = (base(at, shape) for at, shape in enumerate(shapes.values()))
    if not path.endswith(".bin"):
        return write(path, shapes, words)
    import torch

    bf16 = lambda value: torch.from_numpy(value.view(numpy.int16)).view(torch.bfloat16)
    torch.save({name: bf16(value) for name, value in zip(shapes, words)}, path)


def triple(folder, total_bytes):
    import gguf
    import torch
    from safetensors.torch import save_file

    shapes, _ = layout(int(total_bytes))
    words = {name: base(at, shape) for at, (name, shape) in enumerate(shapes.items())}
    tensors = {name: torch.from_numpy(value.view(numpy.int16)).view(torch.bfloat16) for name, value in words.items()}
    torch.save(tensors, os.path.join(folder, "pytorch_model.bin"))
    save_file(tensors, os.path.join(folder, "model.safetensors"))
    writer = gguf.GGUFWriter(os.path.join(folder, "model.gguf"), "llama")
    for name, value in words.items():
        writer.add_tensor(name, value.view(numpy.uint8), raw_dtype=gguf.GGMLQuantizationType.BF16)
    finish(writer)


def quantised_q4_k(values):
    """Blocks of ggml's Q4_K: eight groups of 32 values, each with a scale and an offset of six bits."""
    groups = values.reshape(-1, 8, 32)
    low = numpy.minimum(groups.min(2), 0)
    scale = (groups.max(2) - low) / 15
    d, dmin = scale.max(1) / 63, -low.min(1) / 63
    six = lambda part, unit: numpy.clip(numpy.rint(part / numpy.maximum(unit, 1e-12)[:, None]), 0, 63).astype(numpy.uint8)
    scales, offsets = six(scale, d), six(-low, dmin)
    step = numpy.maximum(scales * d[:, None], 1e-12)[:, :, None]
    four = numpy.clip(numpy.rint((groups + (offsets * dmin[:, None])[:, :, None]) / step), 0, 15).astype(numpy.uint8)
    packed = numpy.empty((len(groups), 12), numpy.uint8)
    packed[:, :4] = scales[:, :4] | (scales[:, 4:] >> 4) << 6
    packed[:, 4:8] = offsets[:, :4] | (offsets[:, 4:] >> 4) << 6
    packed[:, 8:] = scales[:, 4:] & 15 | (offsets[:, 4:] & 15) << 4
    halves = four.reshape(-1, 4, 2, 32)
    nibbles = (halves[:, :, 0] | halves[:, :, 1] << 4).reshape(-1, 128)
    heads = numpy.stack([d, dmin], 1).astype("<f2").view(numpy.uint8)
    return numpy.concatenate([heads, packed, nibbles], 1)


def gguf_files(folder, total_bytes):
    import gguf

    shapes, _ = layout(int(total_bytes))
    kinds = {"Q8_0": gguf.GGMLQuantizationType.Q8_0, "Q4_K": gguf.GGMLQuantizationType.Q4_K}
    for name, kind in kinds.items():
        writer = gguf.GGUFWriter(os.path.join(folder, f"model-{name}.gguf"), "llama")
        for at, (tensor, shape) in enumerate(shapes.items()):
            values = widened(base(at, shape))
            if name == "Q8_0":
                blocks = gguf.quants.quantize(values, kind)
            else:
                blocks = quantised_q4_k(values).reshape(shape[0], -1)
            writer.add_tensor(tensor, blocks, raw_dtype=kind)
        finish(writer)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def entropy(word, *paths):
    """Of each file by itself, in pieces of 16 MiB: what a model of the whole file could not know is not held against it."""
    word, bits, total = int(word), 0.0, 0
    for path in paths:
        counts = numpy.zeros((word, 256), numpy.int64)
        with open(path, "rb") as file:
            skip = struct.unpack("<Q", file.read(8))[0] if path.endswith(".safetensors") else 0
            file.seek(skip + 8 if skip else 0)
            while piece := file.read(16 << 20):
                bytes_ = numpy.frombuffer(piece[: len(piece) // word * word], numpy.uint8)
                if word == 2:
                    words = bytes_.view("<u2")
                    bytes_ = ((words << 1) | (words >> 15)).view(numpy.uint8)
                for plane in range(word):
                    counts[plane] += numpy.bincount(bytes_[plane::word], minlength=256)
        for plane in counts:
            used = plane[plane > 0]
            bits += float((used * (numpy.log2(used.sum()) - numpy.log2(used))).sum()) if len(used) else 0.0
        total += os.path.getsize(path)
    print(bits / 8, total)


COMMANDS = {"family": family, "law": law, "triple": triple, "gguf": gguf_files, "large": large, "entropy": entropy}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])
