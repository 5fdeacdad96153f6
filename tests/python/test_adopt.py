"""Models that lie on a disk, in the caches that real programs make: found, freed, brought back."""

import hashlib
import json
import os
import subprocess
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest

from harness.drivers import PROGRAMS
from harness.hub import Account, Hub

pytestmark = pytest.mark.python

PROGRAMS_TRIED = ["hub-0.36", "hub-2.4"]
"""One with the classical cache, and one that shares blobs between the repositories of a cache."""
DOWNLOAD = """
import sys
from huggingface_hub import snapshot_download
print(snapshot_download(sys.argv[1], revision=sys.argv[2]))
"""


class Machine:
    """A home folder with `wh` and `huggingface_hub`."""

    def __init__(self, hub: Hub, account: Account, folder: Path, program: str = PROGRAMS_TRIED[0]) -> None:
        self.hub = hub
        self.program = program
        self.home = folder / "home"
        self.home.mkdir()
        self.account = account
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "HF_HOME": str(self.home / "hf"),
            "WH_DATA": str(self.home / "data"),
            "WH_CONFIG_DIR": str(self.home / "config"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }

    def wh(self, *words: str, code: int = 0, **more: str) -> Any:
        """Runs `wh … --json` and returns what it prints."""
        done = subprocess.run(
            [self.hub.binary, *words, "--json"],
            env=self.environment | more,
            capture_output=True,
            text=True,
            timeout=300,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stderr}\n{done.stdout[-2000:]}"
        return json.loads(done.stdout) if done.stdout else None

    def download(self, repo: str, revision: str = "main", **more: str) -> Path:
        """Where huggingface_hub has a repository."""
        done = subprocess.run(
            [PROGRAMS[self.program], "-c", DOWNLOAD, repo, revision],
            env=self.environment | more,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return Path(done.stdout.strip())


@pytest.fixture
def machine(hub: Hub, alice: Account, tmp_path: Path) -> Machine:
    """A machine of alice's."""
    return Machine(hub, alice, tmp_path)


def content(folder: Path) -> dict[str, str]:
    """Digest of every file and target of every link."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def resolved(cache: Path) -> dict[str, str]:
    """Digest of every file of a snapshot, wherever its bytes are."""
    files = (path for path in cache.rglob("snapshots/**/*") if path.is_file())
    return {path.relative_to(cache).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("program", PROGRAMS_TRIED)
def test_a_cache_of_huggingface_hub_goes_and_comes_back(
    hub: Hub, alice: Account, tmp_path: Path, program: str
) -> None:
    """After the round trip the client finds the very files offline."""
    if program not in PROGRAMS:
        pytest.skip(f"{program} was not made for this run")
    machine = Machine(hub, alice, tmp_path, program)
    repo, model = f"{alice.name}/adopted-{program}", tmp_path / "model"
    (model / "sub").mkdir(parents=True)
    (model / "config.json").write_text('{"model_type": "bert"}')
    (model / "README.md").write_text("---\nlicense: mit\n---\n# Model\n")
    (model / "sub" / "model.safetensors").write_bytes(os.urandom(3 << 20))
    online = {"HF_ENDPOINT": machine.hub.url, "HF_TOKEN": machine.account.token}
    machine.wh("push", str(model), repo, "--create", **online)
    first = machine.download(repo, **online)
    (model / "sub" / "model.safetensors").write_bytes(os.urandom(2 << 20))
    machine.wh("push", str(model), repo, **online)
    second = machine.download(repo, **online)
    assert first != second
    cache = machine.home / "hf" / "hub"
    before, seen = content(cache), resolved(cache)
    assert len(seen) == 8, "two snapshots of four files"

    report = machine.wh("adopt")
    names = [(found["layout"], found["name"]) for found in report["models"]]
    assert names == [("hf-cache", f"{alice.name}__adopted-{program}")]
    assert report["models"][0]["size_bytes"] > 5 << 20
    assert content(cache) == before, "looking changes nothing"

    taken = machine.wh("adopt", "--into", "--free", "--yes")["adopted"]
    assert [(one["failure"], one["problems"]) for one in taken] == [(None, [])]
    assert taken[0]["verified_bytes"] > 5 << 20
    assert taken[0]["freed"]["freed_bytes"] > 5 << 20
    folder = cache / f"models--{alice.name}--adopted-{program}"
    assert not list((folder / "blobs").iterdir())
    assert sum(path.stat().st_size for path in cache.rglob("*") if path.is_file()) < 1 << 20
    record = json.loads((folder / ".weighthouse-adopted.json").read_text())
    assert record["models"][0]["repo"] == taken[0]["repo"] == f"admin/{alice.name}__adopted-{program}"

    restored = machine.wh("pull", "--adopted", str(folder))
    assert (restored["files"], restored["problems"]["count"]) == (taken[0]["freed"]["files"], 0)
    assert resolved(cache) == seen
    if program == "hub-0.36":
        assert content(cache) == before
    for revision, place in (("main", second), (first.name, first)):
        assert machine.download(repo, revision, HF_HUB_OFFLINE="1") == place
    assert (second / "sub" / "model.safetensors").read_bytes() == (model / "sub" / "model.safetensors").read_bytes()


def test_a_cache_of_ollama_goes_and_comes_back(machine: Machine) -> None:
    """A layer of two models goes only when both were taken."""
    cache = machine.home / ".ollama" / "models"
    (cache / "blobs").mkdir(parents=True)

    def blob(data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        (cache / "blobs" / f"sha256-{digest}").write_bytes(data)
        return f"sha256:{digest}"

    def manifest(name: str, layers: dict[str, bytes]) -> None:
        kind = "application/vnd.ollama.image."
        listed = [{"mediaType": kind + key, "digest": blob(data), "size": len(data)} for key, data in layers.items()]
        config = {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": blob(b'{"x":1}'), "size": 7}
        path = cache / "manifests" / "registry.ollama.ai" / "library" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"schemaVersion": 2, "config": config, "layers": listed}))

    shared = os.urandom(1 << 20)
    manifest("tiny/latest", {"model": b"GGUF" + shared, "template": b"{{ .Prompt }}"})
    manifest("tuned/7b", {"model": b"GGUF" + shared, "template": b"other", "params": b'{"stop":["x"]}'})
    (cache / "blobs" / "sha256-00-partial").write_bytes(b"half")
    before = content(cache)

    only = machine.wh("adopt", str(cache), "--into", "--model", "tiny", "--free", "--yes")["adopted"]
    assert [one["repo"] for one in only] == ["admin/tiny-latest"]
    assert only[0]["freed"]["files"] == 2, "its manifest and its template; the rest is the other model's too"
    machine.wh("pull", "--adopted", str(cache))
    assert content(cache) == before

    both = machine.wh("adopt", "--into", "--free", "--yes")["adopted"]
    assert sorted(one["repo"] for one in both) == ["admin/tiny-latest", "admin/tuned-7b"]
    assert sum(one["freed"]["files"] for one in both) == len(before) - 1
    assert all(not one["freed"]["problems"]["lines"] for one in both)
    machine.wh("pull", "--adopted", str(cache))
    assert content(cache) == before


def test_a_server_that_has_the_data_is_used_instead(machine: Machine, tmp_path: Path) -> None:
    """What is freed into the hub of `wh login` comes back from there, and from no other."""
    models = tmp_path / "models" / "lab" / "some model"
    models.mkdir(parents=True)
    (models / "config.json").write_text("{}")
    (models / "model.bin").write_bytes(os.urandom(1 << 20))
    before = content(models)
    machine.wh("login", machine.hub.url, "--token", machine.account.token)
    data = {"WH_DATA": str(machine.hub.data)}
    taken = machine.wh("adopt", str(tmp_path / "models"), "--into", "--free", "--yes", **data)["adopted"]
    assert [one["repo"] for one in taken] == [f"{machine.account.name}/lab__some_model"]
    assert sorted(content(models)) == [".weighthouse-adopted.json"]
    machine.wh("pull", "--adopted", str(models), code=5, WH_ENDPOINT="http://127.0.0.1:1")
    machine.wh("pull", "--adopted", str(models), **data)
    assert content(models) == before


TRIPLE = """
import sys
from pathlib import Path
import gguf, torch
from safetensors.torch import save_file
folder = Path(sys.argv[1])
torch.manual_seed(0)
tensors = {f"layer.{n}.weight": torch.randn(64, 128).half() for n in range(8)}
for name in ("torch", "safe", "gguf", "shards", "tuned"):
    (folder / name).mkdir(parents=True)
torch.save(tensors, folder / "torch" / "pytorch_model.bin")
save_file(tensors, folder / "safe" / "model.safetensors")
names = sorted(tensors)
for number, part in enumerate((names[:4], names[4:]), 1):
    save_file({k: tensors[k] for k in part}, folder / "shards" / f"model-0000{number}-of-00002.safetensors")
writer = gguf.GGUFWriter(folder / "gguf" / "model-F16.gguf", "llama")
for name, tensor in tensors.items():
    writer.add_tensor(name, tensor.numpy())
writer.write_header_to_file(); writer.write_kv_data_to_file(); writer.write_tensors_to_file(); writer.close()
tensors["layer.7.weight"] = tensors["layer.7.weight"] + 1
save_file(tensors, folder / "tuned" / "model.safetensors")
"""


def test_the_same_weights_are_found_in_other_formats(machine: Machine, tmp_path: Path) -> None:
    """A torch file, safetensors, shards, GGUF and a fine-tune of one layer form a group."""
    if "models" not in PROGRAMS:
        pytest.skip("the model libraries were not made for this run")
    folder = tmp_path / "weights"
    subprocess.run([PROGRAMS["models"], "-c", TRIPLE, str(folder)], check=True, timeout=300)
    report = machine.wh("adopt", str(folder))
    assert report["duplicates"] == []
    [near] = report["near"]
    tensor = 64 * 128 * 2
    shares = sorted((Path(one["path"]).parent.name, one["shared_bytes"] // tensor) for one in near["sets"])
    assert all(one["tensors"] == 8 for one in near["sets"])
    assert shares == [("gguf", 8), ("safe", 8), ("shards", 8), ("torch", 8), ("tuned", 7)]
    assert near["repeated_bytes"] == (5 * 8 - 9) * tensor


def test_a_kill_while_linking_loses_nothing(machine: Machine, tmp_path: Path) -> None:
    """Whenever SIGKILL comes, every path has its bytes; the next run finishes."""
    folder, random = tmp_path / "copies", Random(7)
    for round_number in range(12):
        for kind in range(40):
            data = random.randbytes(200_000)
            for place in ("a", "b", "c"):
                path = folder / str(round_number) / place / f"{kind}.bin"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        at = folder / str(round_number)
        before = content(at)
        started = subprocess.Popen(
            [machine.hub.binary, "adopt", str(at), "--hard-link", "--quiet"],
            env=machine.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(random.uniform(0.02, 0.6))
        started.kill()
        started.wait()
        after = {name: digest for name, digest in content(at).items() if "/.wh-adopt-" not in name}
        assert after == before
        done = machine.wh("adopt", str(at), "--hard-link")
        assert done["linked"]["problems"]["count"] == 0
        assert len({path.stat().st_ino for path in at.rglob("*.bin")}) == 40
        assert {name: digest for name, digest in content(at).items() if "/.wh-adopt-" not in name} == before
