"""What `cargo xtask bench convert` needs of Python: checkpoints to convert, and the peers that convert them."""

import json
import os
import resource
import subprocess
import sys
import time

LAYERS = 16


def versions():
    from importlib.metadata import version

    names = ("torch", "safetensors", "transformers", "gguf", "numpy")
    print(f"Python {sys.version.split()[0]}, " + ", ".join(f"{name} {version(name)}" for name in names))


def run(*command):
    """Runs a program; prints its seconds and the most memory it had, in KiB."""
    began = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    took = time.perf_counter() - began
    if done.returncode:
        sys.exit(done.stderr)
    print(took, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)


def said(began):
    """Prints the seconds since then, and the most memory this process had, in KiB."""
    print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def durable(path):
    """Makes a file durable, as `wh` does before it gives it its name."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def state(total_bytes):
    """A state dict of normally distributed BF16 weights."""
    import torch

    torch.manual_seed(1)
    hidden = (int((int(total_bytes) / 2 / LAYERS / 12) ** 0.5) // 64 + 1) * 64
    plan = [("q", 1, 1), ("k", 1, 1), ("v", 1, 1), ("o", 1, 1), ("up", 4, 1), ("down", 1, 4)]
    return {
        f"model.layers.{layer}.{name}.weight": torch.randn(hidden * rows, hidden * columns, dtype=torch.bfloat16) * 0.02
        for layer in range(LAYERS)
        for name, rows, columns in plan
    }


def make_pt(path, total_bytes):
    import torch

    torch.save(state(total_bytes), path)


def make_dcp(path, total_bytes):
    import torch.distributed.checkpoint as dcp

    dcp.save({"model": state(total_bytes)}, checkpoint_id=path)


def make_llama(path, total_bytes):
    """A Llama of about so many bytes in BF16, with a tokenizer of bytes."""
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    torch.manual_seed(1)
    hidden = (int((int(total_bytes) / 2 / LAYERS / 12) ** 0.5) // 256 + 1) * 256
    alphabet = {symbol: at for at, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    config = transformers.LlamaConfig(
        hidden_size=hidden, intermediate_size=hidden * 8 // 3 // 256 * 256, num_hidden_layers=LAYERS,
        num_attention_heads=hidden // 64, num_key_value_heads=hidden // 64, vocab_size=len(alphabet),
        tie_word_embeddings=False,
    )  # fmt: skip
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(config)
    model = model.to(torch.bfloat16).to_empty(device="cpu")
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.02)
    model.save_pretrained(path)
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(path)


def peer_pt(source, target, sync):
    """`torch.load` and `save_file`."""
    import torch
    from safetensors.torch import save_file

    began = time.perf_counter()
    save_file(torch.load(source, weights_only=True), target, metadata={"format": "pt"})
    if sync == "sync":
        durable(target)
    said(began)


def peer_dcp(source, target, sync):
    """torch's own `dcp_to_torch_save`."""
    from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

    began = time.perf_counter()
    dcp_to_torch_save(source, target)
    if sync == "sync":
        durable(target)
    said(began)


def peer_gguf(source, target, sync):
    """The quantiser and the writer of the gguf package, tensor by tensor, on the same matrices."""
    import gguf
    import torch
    from safetensors import safe_open

    began = time.perf_counter()
    writer = gguf.GGUFWriter(target, "llama", use_temp_file=True)
    with safe_open(f"{source}/model.safetensors", framework="pt") as file:
        for name in file.keys():
            tensor = file.get_tensor(name).to(torch.float32).numpy()
            if tensor.ndim == 2:
                kind = gguf.GGMLQuantizationType.Q8_0
                writer.add_tensor(name, gguf.quants.quantize(tensor, kind), raw_dtype=kind)
            else:
                writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    if sync == "sync":
        durable(target)
    said(began)


def sparse(path, total_bytes):
    """A safetensors file of zeros that takes no disk."""
    header, at, each = {}, 0, 256 << 20
    while at < int(total_bytes):
        shape = [8192, each // 2 // 8192]
        header[f"layers.{at // each}.weight"] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + each]}
        at += each
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + at)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
