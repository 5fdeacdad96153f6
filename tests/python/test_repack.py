"""Checkpoints that torch and safetensors write, pushed by `wh push`, coded anew beside the running server, pulled back."""

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.drivers import PROGRAMS
from harness.hub import Account, Hub

pytestmark = pytest.mark.python

WRITE = """
import sys, pathlib, torch
from safetensors.torch import save_file

out = pathlib.Path(sys.argv[1])
torch.manual_seed(7)
torch.set_num_threads(1)
model = torch.nn.Sequential(torch.nn.Linear(256, 1024), torch.nn.GELU(), torch.nn.Linear(1024, 256))
state = lambda: {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
for name in ["base", "short", "tuned"]:
    (out / name).mkdir(parents=True)
save_file(state(), out / "base" / "model.safetensors")
save_file({name: tensor.to(torch.bfloat16) for name, tensor in state().items()}, out / "short" / "model.safetensors")
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
for step in range(1, 13):
    optimizer.zero_grad()
    model(torch.randn(64, 256)).square().mean().backward()
    optimizer.step()
    if step % 6 == 0:
        folder = out / "tuned" / f"checkpoint-{step}"
        folder.mkdir()
        torch.save(state(), folder / "pytorch_model.bin")
        torch.save(optimizer.state_dict(), folder / "optimizer.pt")
(out / "tuned" / "README.md").write_text("---\\nbase_model: alice/base\\n---\\n# Tuned\\n")
"""


class Ground:
    """A hub of its own, and alice's `wh`."""

    def __init__(self, hub: Hub, account: Account, folder: Path) -> None:
        self.hub = hub
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "WH_CONFIG_DIR": str(folder / "config"),
            "HF_ENDPOINT": hub.url,
            "HF_TOKEN": account.token,
        }

    def wh(self, *words: str) -> None:
        """Runs `wh …`."""
        done = subprocess.run(
            [self.hub.binary, *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"{words}: {done.stderr}"

    def repack(self, *words: str) -> Any:
        """Runs `wh admin repack …` beside the server, or without one."""
        return json.loads(self.hub.admin("repack", *words, "--json"))


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    """A hub that nobody else's uploads are on."""
    hub = Hub(tmp_path / "hub")
    hub.data.parent.mkdir()
    hub.start()
    yield Ground(hub, hub.add("alice"), tmp_path)
    hub.stop()


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_what_is_pushed_is_coded_against_its_base_and_comes_back(ground: Ground, tmp_path: Path) -> None:
    """A base, a short copy of it, and two steps of a fine-tune saved by torch with the state of its optimizer."""
    out = tmp_path / "out"
    subprocess.run([PROGRAMS["models"], "-c", WRITE, str(out)], check=True, timeout=300)
    for name in ["base", "short", "tuned"]:
        ground.wh("push", "--create", str(out / name), f"alice/{name}")
    status = ground.repack("--wait")
    assert status["commits"] == {"unread": 0, "waiting": 0, "running": 0, "failed": 0}
    assert status["xorbs"]["seen"] == status["xorbs"]["total"] > 0
    codecs = {codec["codec"]: codec for codec in status["codecs"]}
    assert codecs["derived"]["raw_bytes"] > 0.8 * (out / "short" / "model.safetensors").stat().st_size
    assert codecs["delta"]["raw_bytes"] > (out / "tuned" / "checkpoint-6" / "pytorch_model.bin").stat().st_size
    assert status["stored_bytes"] < 0.75 * status["raw_bytes"], status
    for name in ["base", "short", "tuned"]:
        back = tmp_path / "back" / name
        ground.wh("pull", f"alice/{name}", str(back))
        wanted = digests(out / name)
        assert {path: found for path, found in digests(back).items() if path in wanted} == wanted


def test_orders_reach_a_running_server_and_the_work_is_done_without_one(ground: Ground, tmp_path: Path) -> None:
    """Paused work waits; `--wait` does it where no server runs."""
    out = tmp_path / "out"
    subprocess.run([PROGRAMS["models"], "-c", WRITE, str(out)], check=True, timeout=300)
    assert ground.repack("--pause")["paused"]
    ground.wh("push", "--create", str(out / "base"), "alice/base")
    with pytest.raises(RuntimeError, match=r"paused[\s\S]*--resume"):
        ground.repack("--wait")
    ground.hub.stop()
    ground.repack("--resume")
    status = ground.repack("--wait")
    assert status["xorbs"]["coded"] > 0
    assert ground.repack("--all", "--again", "--wait")["xorbs"]["seen"] == status["xorbs"]["total"]
    ground.hub.start()
    ground.wh("pull", "alice/base", str(tmp_path / "back"))
    assert digests(tmp_path / "back")["model.safetensors"] == digests(out / "base")["model.safetensors"]
