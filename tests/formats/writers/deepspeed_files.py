"""DeepSpeed's ZeRO checkpoints of two processes, and the universal layout.

The library's own scripts put them together: `zero_to_fp32` gives the weights in single precision, `ds_to_universal` the
optimizer's moments by parameter.
"""

import argparse
import functools
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.multiprocessing as mp
from torch import nn

from oracle import Optimizer, Oracle, Tensors, writes
from torch_oracle import flat, parameters
from writers.distributed import Net

WORLD = 2


class Tied(nn.Module):
    """A tied pair and a frozen layer."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(4, 4, bias=False)
        self.middle = nn.Linear(4, 4)
        self.head = nn.Linear(4, 4, bias=False)
        self.head.weight = self.embed.weight
        self.frozen = nn.Linear(4, 3)
        self.frozen.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.frozen(self.head(self.middle(self.embed(x))))


SAVES = {
    "zero1": (Net, {"zero_optimization": {"stage": 1}, "bf16": {"enabled": True}}),
    "zero2": (Net, {"zero_optimization": {"stage": 2}, "bf16": {"enabled": True}}),
    "zero3": (Net, {"zero_optimization": {"stage": 3}, "bf16": {"enabled": True}}),
    "zero2-tied": (Tied, {"zero_optimization": {"stage": 2}}),
}


def made(kind: type[nn.Module]) -> nn.Module:
    """The same weights in every process."""
    torch.manual_seed(7)
    return kind()


def write_all(rank: int, out: str) -> None:
    """One of two processes."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(WORLD), "LOCAL_SIZE": str(WORLD)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29577", "DS_ACCELERATOR": "cpu"}
    import deepspeed

    # A faster way to share memory, which it would compile first.
    sys.modules["deepspeed.comm.torch"].build_shm_op = lambda: None
    deepspeed.init_distributed("gloo", init_method=f"file://{out}/rendezvous", rank=rank, world_size=WORLD)
    torch.set_num_threads(1)
    for name, (kind, settings) in SAVES.items():
        model = made(kind)
        chosen = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], lr=0.01)
        config = {"train_micro_batch_size_per_gpu": 4, "zero_allow_untested_optimizer": True, **settings}
        config |= {"zero_force_ds_cpu_optimizer": False}
        engine, *_ = deepspeed.initialize(model=model, optimizer=chosen, config=config)
        dtype = torch.bfloat16 if "bf16" in settings else torch.float32
        for _ in range(2):
            loss = engine(torch.linspace(-1, 1, 16).reshape(4, 4).to(dtype)).square().sum()
            engine.backward(loss)
            engine.step()
        engine.save_checkpoint(f"{out}/{name}", client_state={"epoch": 1})
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@functools.cache
def both() -> Path:
    """Runs the two processes once."""
    out = tempfile.mkdtemp()
    mp.spawn(write_all, (out,), WORLD)
    return Path(out)


def universal(name: str) -> Path:
    """DeepSpeed's conversion of a ZeRO checkpoint."""
    from deepspeed.checkpoint import ds_to_universal

    target = both() / f"{name}-universal"
    ds_to_universal.main(
        argparse.Namespace(
            input_folder=str(both() / name / "global_step2"),
            output_folder=str(target / "global_step2_universal"),
            num_extract_workers=1,
            num_merge_workers=1,
            keep_temp_folder=False,
            strict=True,
            inject_missing_state=True,
        )
    )
    return target


def moments(converted: Path) -> Optimizer:
    """AdamW's state out of the universal layout.

    Out of stage 3 the conversion leaves it flat; it has the shape of its parameter all the same.
    """
    shapes = {name: value.shape for kind, _ in SAVES.values() for name, value in made(kind).named_parameters()}
    found: Tensors = {}
    for file in sorted(converted.glob("global_step2_universal/zero/*/exp_avg*.pt")):
        value = torch.load(file, weights_only=False)
        value = value["param"] if isinstance(value, dict) else value
        found |= flat(value.reshape(shapes[file.parent.name]), f"{file.parent.name}.{file.stem}")
    return Optimizer("adamw", 2, found)


def weights(target: Path) -> dict[str, Any]:
    """DeepSpeed's consolidation."""
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    return get_fp32_state_dict_from_zero_checkpoint(str(target))


def described(folder: Path, name: str, optimizer: Optimizer | None) -> Oracle:
    """A ZeRO checkpoint, whole."""
    shutil.copytree(both() / name, folder / "model")
    return Oracle(
        "model",
        flat(weights(folder / "model")),
        parameters=parameters(made(SAVES[name][0])),
        optimizer=optimizer,
        metadata={"global_steps": 2, "epoch": 1},
    )


@writes("deepspeed/zero1")
def _(folder: Path) -> Oracle:
    return described(folder, "zero1", moments(universal("zero1")))


@writes("deepspeed/zero2")
def _(folder: Path) -> Oracle:
    return described(folder, "zero2", moments(universal("zero2")))


@writes("deepspeed/zero3")
def _(folder: Path) -> Oracle:
    return described(folder, "zero3", moments(universal("zero3")))


@writes("deepspeed/zero2-tied")
def _(folder: Path) -> Oracle:
    return described(folder, "zero2-tied", moments(universal("zero2-tied")))


@writes("deepspeed/universal")
def _(folder: Path) -> Oracle:
    converted = universal("zero2")
    shutil.copytree(converted, folder / "model")
    return Oracle(
        "model",
        flat(weights(both() / "zero2")),
        parameters=parameters(made(Net)),
        optimizer=moments(converted),
        metadata={"global_steps": 2},
    )
