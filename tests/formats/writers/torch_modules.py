"""torch's ways to save more than a state dict: whole modules, TorchScript, exported programs."""

import sys
from pathlib import Path

import torch
from torch import nn

from models import bert, seeded, timm_resnet
from oracle import Oracle, writes
from torch_oracle import flat, parameters


class Block(nn.Module):
    """A part with a list and a dictionary of modules."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(width, width), nn.Linear(width, width, bias=False)])
        self.named = nn.ModuleDict({"norm": nn.LayerNorm(width)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.named["norm"](x)


class Net(nn.Module):
    """Buffers that are saved and not, a parameter alone, a tie, and attributes that are no tensors of the model."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 6)
        self.block = Block(6)
        self.head = nn.Linear(6, 10, bias=False)
        self.head.weight = self.embed.weight
        self.scale = nn.Parameter(torch.ones(3))
        self.register_parameter("absent", None)
        self.register_buffer("running", torch.arange(4.0))
        self.register_buffer("scratch", torch.zeros(5), persistent=False)
        self.settings = {"width": 6, "names": ("a", "b")}
        self.cache = [torch.zeros(2)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.block(self.embed(x)))


for own in (Block, Net):
    # As in the script of somebody who trains a model, whose classes nobody else can import.
    own.__module__ = "__main__"
    setattr(sys.modules["__main__"], own.__name__, own)


def whole(folder: Path, module: nn.Module, *, legacy: bool = False, family: str | None = None) -> Oracle:
    """`torch.save(module)`; the tensors are those of `state_dict`."""
    torch.save(module, folder / "model.pt", _use_new_zipfile_serialization=not legacy)
    loaded = torch.load(folder / "model.pt", weights_only=False)
    return Oracle(
        "model.pt",
        flat(loaded.state_dict()),
        family=family,
        class_=type(module).__name__,
        parameters=parameters(loaded),
    )


@writes("torch-module/own-class")
def _(folder: Path) -> Oracle:
    return whole(folder, seeded(Net))


@writes("torch-module/legacy")
def _(folder: Path) -> Oracle:
    return whole(folder, seeded(Net), legacy=True)


@writes("torch-module/bert")
def _(folder: Path) -> Oracle:
    return whole(folder, bert(), family="bert")


@writes("torch-module/timm-resnet")
def _(folder: Path) -> Oracle:
    return whole(folder, timm_resnet(), family="resnet")


@writes("torch-module/quantised")
def _(folder: Path) -> Oracle:
    # Packed parameters are objects of their own with a state; the library names what is inside them.
    class_ = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2))
    torch.manual_seed(7)
    module = torch.ao.quantization.quantize_dynamic(class_, {nn.Linear}, dtype=torch.qint8)
    torch.save(module.state_dict(), folder / "model.pt")
    loaded = torch.load(folder / "model.pt", weights_only=False)
    assert torch.is_tensor(loaded["0.scale"])
    found = {}
    for name, value in loaded.items():
        found |= flat(value, name)
    return Oracle("model.pt", found)


def script(folder: Path, module: torch.jit.ScriptModule, family: str | None = None) -> Oracle:
    """`torch.jit.save`, with a file of the user inside."""
    torch.jit.save(module, folder / "model.pt", _extra_files={"labels.txt": b"cat\ndog\n"})
    loaded = torch.jit.load(folder / "model.pt")
    return Oracle("model.pt", flat(loaded.state_dict()), family=family, parameters=parameters(loaded))


@writes("torchscript/scripted")
def _(folder: Path) -> Oracle:
    class Scripted(nn.Module):
        """Control flow, a submodule, a buffer, and an attribute that is a tensor."""

        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(3, 4)
            self.inner = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
            self.register_buffer("offset", torch.arange(4.0))
            self.gain = 2.0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.first(x)
            if x.sum() > 0:
                x = x + self.offset
            return self.inner(x) * self.gain

    return script(folder, torch.jit.script(seeded(Scripted).eval()))


@writes("torchscript/traced-resnet")
def _(folder: Path) -> Oracle:
    module = timm_resnet().eval()
    return script(folder, torch.jit.trace(module, torch.zeros(1, 3, 32, 32)), "resnet")


@writes("torchscript/half")
def _(folder: Path) -> Oracle:
    return script(folder, torch.jit.script(seeded(nn.Linear, 3, 4).to(torch.bfloat16)))


def exported(folder: Path, module: nn.Module, *inputs: torch.Tensor, family: str | None = None) -> Oracle:
    """`torch.export.save`; names are those of the exported program's state dict."""
    torch.export.save(torch.export.export(module.eval(), inputs), folder / "model.pt2")
    loaded = torch.export.load(folder / "model.pt2")
    values = {
        **loaded.state_dict,
        **{name: value for name, value in loaded.constants.items() if torch.is_tensor(value)},
    }
    count = sum(value.numel() for value in {id(value): value for value in loaded.parameters()}.values())
    return Oracle("model.pt2", flat(values), family=family, parameters=count)


@writes("pt2/dense")
def _(folder: Path) -> Oracle:
    class Exported(nn.Module):
        """A parameter, a buffer, one that is not saved, and a constant."""

        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 4)
            self.gain = nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
            self.register_buffer("offset", torch.arange(4.0))
            self.register_buffer("mask", torch.ones(4), persistent=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(x) * self.gain.float() + self.offset * self.mask

    return exported(folder, seeded(Exported), torch.zeros(2, 3))


@writes("pt2/resnet")
def _(folder: Path) -> Oracle:
    return exported(folder, timm_resnet(), torch.zeros(1, 3, 32, 32), family="resnet")
