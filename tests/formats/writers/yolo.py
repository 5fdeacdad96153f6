"""YOLO by ultralytics: a checkpoint in the middle of a training, and the one it leaves at the end.

Both hold the whole module; in the middle it is the moving average, `ema`. The optimizer's numbers follow its groups,
which the file does not tell, so they stay numbers.
"""

import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

CACHE = Path(tempfile.mkdtemp())
os.environ |= {"YOLO_CONFIG_DIR": str(CACHE), "YOLO_OFFLINE": "true", "YOLO_VERBOSE": "false"}

import ultralytics.data.utils  # noqa: E402
from ultralytics.models.yolo.detect import DetectionTrainer  # noqa: E402
from ultralytics.utils import ROOT, YAML  # noqa: E402

from oracle import Oracle, writes  # noqa: E402
from torch_oracle import flat, optimizer, parameters  # noqa: E402

# It would look for a font to label pictures with, and fetch one.
ultralytics.data.utils.check_font = lambda *_: None


class Trainer(DetectionTrainer):
    """Without a table of results, which needs a library of its own, and with the checkpoint before it is stripped."""

    def read_results_csv(self) -> dict:
        return {}

    def save_model(self) -> bool:
        saved = super().save_model()
        shutil.copy(self.last, CACHE / "middle.pt")
        return saved


@cache
def trained() -> Path:
    """One epoch over four pictures of noise."""
    for name in ("images", "labels"):
        (CACHE / name).mkdir()
    for number in range(4):
        noise = np.random.default_rng(number).integers(0, 255, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(noise).save(CACHE / f"images/{number}.png")
        (CACHE / f"labels/{number}.txt").write_text(f"{number % 2} 0.5 0.5 0.4 0.4\n")
    names = {0: "cat", 1: "dog"}
    YAML.save(CACHE / "data.yaml", {"path": str(CACHE), "train": "images", "val": "images", "names": names})
    architecture = YAML.load(ROOT / "cfg/models/11/yolo11.yaml")
    architecture["scales"] = {"n": [0.33, 0.0625, 64]}
    YAML.save(CACHE / "yolo11n-tiny.yaml", architecture)
    settings = {
        "model": str(CACHE / "yolo11n-tiny.yaml"),
        "data": str(CACHE / "data.yaml"),
        "project": str(CACHE / "runs"),
        "optimizer": "SGD",
        "device": "cpu",
        "epochs": 1,
        "imgsz": 32,
        "batch": 2,
        "workers": 0,
        "seed": 7,
        "plots": False,
        "amp": False,
        "val": False,
    }
    trainer = Trainer(overrides=settings)
    trainer.train()
    return trainer.last


def described(path: Path, key: str) -> Oracle:
    """The module below a key."""
    loaded = torch.load(path, weights_only=False)
    module = loaded[key]
    state = loaded["optimizer"]
    return Oracle(
        path.name,
        flat(module.state_dict()),
        family="yolo",
        class_="DetectionModel",
        parameters=parameters(module),
        optimizer=optimizer("sgd", state) if state else None,
        metadata={"version": loaded["version"], "epoch": loaded["epoch"], "nc": 2},
    )


@writes("yolo/training")
def _(folder: Path) -> Oracle:
    trained()
    shutil.copy(CACHE / "middle.pt", folder / "last.pt")
    return described(folder / "last.pt", "ema")


@writes("yolo/final")
def _(folder: Path) -> Oracle:
    shutil.copy(trained(), folder / "best.pt")
    return described(folder / "best.pt", "model")
