"""torch's distributed checkpoints, written by one process and by two that share the tensors.

The model is below `model`, the optimizer below `optim` with the parameters' full names, as `get_state_dict` gives them.
"""

import functools
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.multiprocessing as mp
from torch import nn
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict import get_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

from oracle import Optimizer, Oracle, Tensors, writes
from torch_oracle import flat

WORLD = 2


class Net(nn.Module):
    """Extents that two ranks can not share evenly."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 5)
        self.second = nn.Linear(5, 3)
        self.register_buffer("running", torch.arange(3.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.first(x))) + self.running


def trained(model: nn.Module) -> torch.optim.Optimizer:
    """Two steps of AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(2):
        model(torch.linspace(-1, 1, 32).reshape(8, 4)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return optimizer


def made() -> Net:
    """The same weights in every process."""
    torch.manual_seed(7)
    return Net()


def state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """What trainers save."""
    weights, moments = get_state_dict(model, optimizer)
    return {"model": weights, "optim": moments, "step": 2, "note": "two steps"}


def write_all(rank: int, out: str) -> None:
    """One of two processes: writes its share of every fixture."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29541"}
    dist.init_process_group("gloo", init_method=f"file://{out}/rendezvous", rank=rank, world_size=WORLD)
    torch.set_num_threads(1)
    folder = Path(out)
    mesh = init_device_mesh("cpu", (WORLD,))
    model = made()
    fully_shard(model, mesh=mesh)
    optimizer = trained(model)
    value = state(model, optimizer)
    dcp.save(value, checkpoint_id=folder / "two-ranks")
    dcp.save({"model": value["model"]}, checkpoint_id=folder / "replicated", planner=None)
    weights = {name: value for name, value in model.state_dict().items()}
    writer = HuggingFaceStorageWriter(str(folder / "huggingface"), save_distributed=True)
    dcp.save(weights, storage_writer=writer)
    consolidated = HuggingFaceStorageWriter(
        str(folder / "huggingface-consolidated"), save_distributed=True, enable_consolidation=True
    )
    dcp.save(weights, storage_writer=consolidated)
    (folder / "fsdp").mkdir(exist_ok=True)
    torch.save(weights, folder / f"fsdp/model_world_size_{WORLD}_rank_{rank}.pt")
    torch.save(optimizer.state_dict(), folder / f"fsdp/optim_world_size_{WORLD}_rank_{rank}.pt")
    table = torch.arange(35.0).reshape(5, 7)
    tensors = {
        "rows": distribute_tensor(table, mesh, [Shard(0)]),
        "columns": distribute_tensor(table, mesh, [Shard(1)]),
        "copies": distribute_tensor(table, mesh, [Replicate()]),
        "half": distribute_tensor(table.to(torch.bfloat16), mesh, [Shard(1)]),
        "plain": table,
    }
    dcp.save(tensors, checkpoint_id=folder / "placements")
    (folder / "dtensors").mkdir(exist_ok=True)
    torch.save(tensors, folder / f"dtensors/model_world_size_{WORLD}_rank_{rank}.pt")
    whole = {name: value.full_tensor() if isinstance(value, DTensor) else value for name, value in weights.items()}
    if rank == 0:
        torch.save(whole, folder / "whole.pt")
    dist.barrier()
    dist.destroy_process_group()


@functools.cache
def both() -> Path:
    """Runs the two processes once."""
    out = tempfile.mkdtemp()
    mp.spawn(write_all, (out,), WORLD)
    return Path(out)


def take(name: str, folder: Path) -> Path:
    """Moves what the two processes wrote into the fixture's folder."""
    shutil.copytree(both() / name, folder / "model")
    return folder / "model"


def read(target: Path) -> dict[str, Any]:
    """torch's own consolidation into one file."""
    with tempfile.TemporaryDirectory() as scratch:
        dcp_to_torch_save(target, Path(scratch) / "whole.pt")
        return torch.load(Path(scratch) / "whole.pt", weights_only=False)


def moments(value: dict[str, Any]) -> Optimizer:
    """AdamW's state by the parameters' names."""
    found: Tensors = {}
    for name, slots in value["state"].items():
        found |= flat({slot: tensor for slot, tensor in slots.items() if slot != "step"}, name)
    return Optimizer("adamw", max(int(slots["step"]) for slots in value["state"].values()), found)


def described(target: Path) -> Oracle:
    """A checkpoint with `model` and perhaps `optim`."""
    value = read(target)
    steps = {"step": value["step"]} if "step" in value else {}
    optimizer = moments(value["optim"]) if "optim" in value else None
    return Oracle("model", flat(value["model"]), optimizer=optimizer, metadata=steps)


@writes("dcp/one-rank")
def _(folder: Path) -> Oracle:
    model = made()
    dcp.save(state(model, trained(model)), checkpoint_id=folder / "model", no_dist=True)
    return described(folder / "model")


@writes("dcp/two-ranks")
def _(folder: Path) -> Oracle:
    return described(take("two-ranks", folder))


@writes("dcp/model-only")
def _(folder: Path) -> Oracle:
    return described(take("replicated", folder))


@writes("dcp/placements")
def _(folder: Path) -> Oracle:
    return Oracle("model", flat(read(take("placements", folder))))


@writes("dcp/dtypes")
def _(folder: Path) -> Oracle:
    from writers.torch_values import every_dtype

    values = {name: value for name, value in every_dtype().items() if name not in {"f4", "f8_e8m0"}}
    dcp.save({"values": values, "list": [torch.ones(2), torch.zeros(3)]}, checkpoint_id=folder / "model", no_dist=True)
    return Oracle("model", flat(read(folder / "model")))


def hugging_face(folder: Path, name: str) -> Oracle:
    """The safetensors variant, loaded by its own reader into tensors of the full size."""
    target = take(name, folder)
    values = {key: torch.empty_like(value) for key, value in torch.load(both() / "whole.pt").items()}
    dcp.load(values, storage_reader=HuggingFaceStorageReader(str(target)), no_dist=True)
    return Oracle("model", flat(values))


@writes("dcp-hf/two-ranks")
def _(folder: Path) -> Oracle:
    return hugging_face(folder, "huggingface")


@writes("dcp-hf/consolidated")
def _(folder: Path) -> Oracle:
    # The shards stay beside the whole file, in a folder of their own.
    return hugging_face(folder, "huggingface-consolidated")


@writes("fsdp/per-rank")
def _(folder: Path) -> Oracle:
    # Each rank's file names the whole shape and holds its rows. The optimizer's numbers are those of the parameters.
    take("fsdp", folder)
    whole = torch.load(both() / "whole.pt")
    names = [name for name, _ in made().named_parameters()]
    full = read(both() / "two-ranks")["optim"]["state"]
    assert list(full) == names
    return Oracle("model", flat(whole), optimizer=moments({"state": full}))


@writes("fsdp/placements")
def _(folder: Path) -> Oracle:
    take("dtensors", folder)
    return Oracle("model", flat(read(both() / "placements")))
