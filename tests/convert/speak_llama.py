"""Loads a GGUF file with llama.cpp, and compares what it says with what transformers said; needs llama-cpp-python.

Arguments: the file, and a JSON file with what `check_gguf.py` answers to `speak`. Prints a JSON list of problems.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np


def problems(path: str, said: dict[str, Any]) -> Iterator[str]:
    """What differs."""
    encoder = "states" in said
    more = {"embedding": True, "pooling_type": llama_cpp.LLAMA_POOLING_TYPE_NONE} if encoder else {"logits_all": True}
    model = llama_cpp.Llama(path, n_ctx=256, n_threads=2, verbose=False, **more)
    for text, tokens in zip(said["words"], said["texts"], strict=True):
        found = model.tokenize(text.encode(), add_bos=True, special=False)
        if found != tokens:
            yield f"`{text}` has the tokens {found}, not {tokens}"
    if encoder:
        off = np.abs(np.array(model.embed(said["text"], normalize=False)) - np.array(said["states"])).max()
        if not off < 5e-3:
            yield f"the states are off by {off}"
        return
    model.eval(said["prompt"])
    off = np.abs(np.array(said["logits"]) - model.scores[model.n_tokens - 1]).max()
    if not off < 5e-3:
        yield f"the logits are off by {off}"
    now = []
    for _ in said["tokens"]:
        now.append(int(np.argmax(model.scores[model.n_tokens - 1])))
        model.eval(now[-1:])
    if now != said["tokens"]:
        yield f"it goes on with {now}, not {said['tokens']}"


print(json.dumps(list(problems(sys.argv[1], json.loads(Path(sys.argv[2]).read_text())))))
