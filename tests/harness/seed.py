"""The repository that every client reads: known content, put there by plain HTTP."""

import json
import random
import struct
from dataclasses import dataclass
from pathlib import Path

from harness.hub import Account, Hub
from harness.wire import Wire, regular

CARD = """---
license: apache-2.0
library_name: transformers
tags: [seed]
---
# Seed

A repository for the tests.
"""


@dataclass(frozen=True)
class Seed:
    """A public repository with a tag `v1.0` and a branch `feat/x`, and a private one of somebody else."""

    repo: str
    commit: str
    files: Path
    """A folder with the content of `repo`."""
    private: str

    def settings(self) -> dict[str, str]:
        """What a driver is told of it."""
        return {
            "WH_TEST_SEED": self.repo,
            "WH_TEST_SEED_FILES": str(self.files),
            "WH_TEST_SEED_COMMIT": self.commit,
            "WH_TEST_PRIVATE": self.private,
        }


def safetensors(values: int) -> bytes:
    """A checkpoint of one F32 tensor."""
    header = json.dumps({"weight": {"dtype": "F32", "shape": [values], "data_offsets": [0, 4 * values]}}).encode()
    return struct.pack("<Q", len(header)) + header + random.Random(7).randbytes(4 * values)


def plant(hub: Hub, owner: Account, stranger: Account, folder: Path) -> Seed:
    """Writes the content to `folder` and commits it, large files by LFS."""
    large = {
        "weights/tiny-Q4_0.gguf": b"GGUF" + struct.pack("<I", 3) + random.Random(1).randbytes(3_000_000),
        "model.safetensors": safetensors(50_000),
    }
    small = {
        "README.md": CARD.encode(),
        "config.json": json.dumps({"model_type": "bert", "architectures": ["BertModel"]}, indent=2).encode(),
        "data/nested/deep name.txt": "weights and measures – ½\n".encode(),
        "data/empty.txt": b"",
    }
    for path, content in (large | small).items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)

    repo = f"{owner.name}/seed"
    wire = Wire(hub.url, owner.token)
    assert wire.create(repo).status == 200
    objects = [{"lfsFile": {"path": path, **wire.upload_lfs(repo, content)}} for path, content in large.items()]
    answer = wire.commit(repo, *(regular(path, content) for path, content in small.items()), *objects)
    assert answer.status == 200, (answer.status, answer.body)
    assert wire.ask("POST", f"/api/models/{repo}/tag/main", data={"tag": "v1.0"}).status == 200
    assert wire.ask("POST", f"/api/models/{repo}/branch/feat%2Fx", data={}).status == 200

    private = f"{stranger.name}/secret"
    other = Wire(hub.url, stranger.token)
    assert other.create(private, private=True).status == 200
    assert other.commit(private, regular("config.json", b"{}")).status == 200
    return Seed(repo, answer.json()["commitOid"], folder, private)
