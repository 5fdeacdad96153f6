"""Training checkpoints written by hand, as tutorials teach it: model, optimizer, scheduler, counters."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models import bert, seeded
from oracle import Oracle, writes
from torch_oracle import flat, optimizer, parameters


def module() -> nn.Module:
    """Two layers and a norm."""
    return seeded(nn.Sequential, nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 3))


def steps(model: nn.Module, chosen: torch.optim.Optimizer, count: int = 3) -> None:
    """Trains on made-up gradients."""

    def loss() -> torch.Tensor:
        chosen.zero_grad()
        total = sum((parameter**2).sum() for parameter in model.parameters())
        total.backward()
        return total

    for _ in range(count):
        chosen.step(loss)


OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": partial(torch.optim.AdamW, amsgrad=True),
    "sgd": partial(torch.optim.SGD, lr=0.1, momentum=0.9),
    "rmsprop": partial(torch.optim.RMSprop, momentum=0.9, centered=True),
    "adagrad": torch.optim.Adagrad,
    "adadelta": torch.optim.Adadelta,
    "adamax": torch.optim.Adamax,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "rprop": torch.optim.Rprop,
    "asgd": torch.optim.ASGD,
    "lbfgs": torch.optim.LBFGS,
    "adafactor": torch.optim.Adafactor,
}


def trained(kind: str, folder: Path) -> Oracle:
    """A checkpoint with the keys of torch's own tutorial."""
    model = module()
    chosen = OPTIMIZERS[kind](model.parameters())
    schedule = torch.optim.lr_scheduler.LambdaLR(chosen, lambda epoch: 0.9**epoch) if kind != "lbfgs" else None
    steps(model, chosen)
    value = {
        "epoch": 2,
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": chosen.state_dict(),
        "scheduler_state_dict": schedule and schedule.state_dict(),
        "loss": torch.tensor(0.25),
        "rng_state": torch.get_rng_state(),
    }
    torch.save(value, folder / "checkpoint.pt")
    loaded = torch.load(folder / "checkpoint.pt", weights_only=True)
    names = [name for name, _ in model.named_parameters()]
    return Oracle(
        "checkpoint.pt",
        flat(loaded["model_state_dict"]),
        parameters=parameters(model),
        optimizer=optimizer(kind, loaded["optimizer_state_dict"], names),
        metadata={"epoch": 2},
    )


for kind in OPTIMIZERS:
    writes(f"torch-training/{kind}")(partial(trained, kind))


@writes("torch-training/optimizer-alone")
def _(folder: Path) -> Oracle:
    # Nothing tells what the numbers mean.
    model = module()
    chosen = torch.optim.AdamW(model.parameters())
    steps(model, chosen)
    torch.save(chosen.state_dict(), folder / "optimizer.pt")
    loaded = torch.load(folder / "optimizer.pt", weights_only=True)
    return Oracle("optimizer.pt", {}, optimizer=optimizer("adamw", loaded))


@writes("torch-training/groups")
def _(folder: Path) -> Oracle:
    # Two groups, as for weight decay: numbers follow the groups, so matrices come first. torch writes the names, too,
    # if it was given them.
    model = module()
    named = list(model.named_parameters())
    groups = [
        {"params": [(name, value) for name, value in named if value.dim() > 1], "weight_decay": 0.1},
        {"params": [(name, value) for name, value in named if value.dim() <= 1], "weight_decay": 0.0},
    ]
    chosen = torch.optim.AdamW(groups)
    steps(model, chosen)
    value = {"model": model.state_dict(), "optimizer": chosen.state_dict(), "iteration": 3}
    torch.save(value, folder / "checkpoint.pt")
    loaded = torch.load(folder / "checkpoint.pt", weights_only=True)
    names = [name for group in loaded["optimizer"]["param_groups"] for name in group["param_names"]]
    return Oracle(
        "checkpoint.pt",
        flat(loaded["model"]),
        parameters=parameters(model),
        optimizer=optimizer("adamw", loaded["optimizer"], names),
        metadata={"iteration": 3},
    )


@writes("torch-training/legacy-bert")
def _(folder: Path) -> Oracle:
    model = bert()
    chosen = torch.optim.Adam(model.parameters())
    steps(model, chosen, 2)
    value = {"state_dict": model.state_dict(), "optimizer": chosen.state_dict(), "epoch": 1}
    torch.save(value, folder / "checkpoint.pth.tar", _use_new_zipfile_serialization=False)
    loaded = torch.load(folder / "checkpoint.pth.tar", weights_only=True)
    names = [name for name, _ in model.named_parameters()]
    return Oracle(
        "checkpoint.pth.tar",
        flat(loaded["state_dict"]),
        family="bert",
        parameters=parameters(model),
        optimizer=optimizer("adam", loaded["optimizer"], names),
        metadata={"epoch": 1},
    )


@writes("torch-training/data-parallel")
def _(folder: Path) -> Oracle:
    # `module.` comes from DataParallel; it is part of the names.
    model = nn.DataParallel(module())
    torch.save({"net": model.state_dict(), "acc": 91.5}, folder / "checkpoint.pth")
    loaded = torch.load(folder / "checkpoint.pth", weights_only=True)
    return Oracle("checkpoint.pth", flat(loaded["net"]), parameters=parameters(model), metadata={"acc": 91.5})
