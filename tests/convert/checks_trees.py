"""What torch makes of converted layers of TensorFlow, Keras and Flax, against what those libraries made of them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

State = dict[str, torch.Tensor]


def close(found: torch.Tensor, expected: np.ndarray) -> None:
    """Equal but for the order of sums."""
    assert torch.allclose(found, torch.from_numpy(expected), atol=1e-3, rtol=1e-4), (found - torch.from_numpy(expected)).abs().max()


def norm(state: State, name: str, x: torch.Tensor, eps: float) -> torch.Tensor:
    """Batch normalisation with running statistics."""
    assert state[f"{name}.num_batches_tracked"].shape == ()
    mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    return functional.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"], eps=eps)


def layers(folder: Path, outs: list[Path], weights: Any) -> None:
    """Both files of Keras."""
    expected = np.load(folder / "expected.npz")
    for out in outs:
        state = weights(out)
        y = torch.from_numpy(expected["x"]).permute(0, 3, 1, 2)
        y = norm(state, "norm", functional.conv2d(y, state["stem.weight"], state["stem.bias"]), 1e-3)
        y = functional.conv2d(y, state["depthwise.weight"], state["depthwise.bias"], groups=4).mean((2, 3))
        close(functional.linear(y, state["head.weight"], state["head.bias"]), expected["y"])


def tree(folder: Path, outs: list[Path], weights: Any) -> None:
    """Flax, with attention."""
    expected, state = np.load(folder / "expected.npz"), weights(outs[0])
    y = torch.from_numpy(expected["x"]).permute(0, 3, 1, 2)
    y = norm(state, "norm", functional.conv2d(y, state["conv.weight"], state["conv.bias"]), 1e-5)
    y = y.permute(0, 2, 3, 1).reshape(2, -1, 8)

    def heads(part: str) -> torch.Tensor:
        name = f"attention.{part}"
        projected = functional.linear(y, state[f"{name}.weight"], state[f"{name}.bias"])
        return projected.reshape(2, -1, 2, 4).transpose(1, 2)

    y = functional.scaled_dot_product_attention(heads("query"), heads("key"), heads("value"))
    y = y.transpose(1, 2).reshape(2, -1, 8)
    y = functional.linear(y, state["attention.out.weight"], state["attention.out.bias"])
    y = functional.layer_norm(y, (8,), state["ln.weight"], state["ln.bias"], eps=1e-6)
    close(functional.linear(y, state["head.weight"], state["head.bias"]), expected["y"])


def bert(folder: Path, outs: list[Path], weights: Any) -> None:
    """Google's BERT, which transformers loads without a missing name."""
    import transformers

    expected, state = np.load(folder / "expected.npz"), weights(outs[0])
    assert set(state) == set(expected.files), set(state) ^ set(expected.files)
    for name in expected.files:
        assert torch.equal(state[name], torch.from_numpy(expected[name])), name
    config = transformers.BertConfig(
        vocab_size=30, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12,
        max_position_embeddings=16,
    )  # fmt: skip
    report = transformers.BertForPreTraining(config).load_state_dict(state, strict=False)
    assert not report.unexpected_keys
    assert set(report.missing_keys) == {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}


CHECKS = {"keras": layers, "flax": tree, "tf-bert": bert}
