"""Checkpoints under the names of another library, loaded by that library."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.drivers import PROGRAMS
from harness.run import run

HERE = Path(__file__).parent
LAYOUTS = HERE / "layouts.py"

TARGETS = {"safetensors": ("folder", ""), "torch": ("torch", ".bin")}
"""What a step's format is on the command line, and how its name ends: libraries load folders, with configurations."""

CASES = (
    "dora",
    "experts-mixtral",
    "experts-qwen2moe",
    "experts-qwen3moe",
    "lora",
    "sd1",
    "sd2",
    "sdxl",
    "timm-bottleneck",
    "timm-resnet",
    "timm-vit",
    "torchvision-resnet",
    "vit-memory",
    "whisper",
    "wrapped",
)
"""Names of the cases in `layouts.py`."""


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Folder of the sources, and what is to be done with each."""
    out = tmp_path_factory.mktemp("remap")
    done = subprocess.run([PROGRAMS["models"], LAYOUTS, "write", out], capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-4000:]
    yield out, json.loads((out / "cases.json").read_text())


@pytest.mark.convert
@pytest.mark.parametrize("name", CASES)
def test_names(name: str, sources: tuple[Path, Mapping[str, Any]], tmp_path: Path) -> None:
    """Each step is loaded by the library whose names it has, and the way back gives what was there."""
    out, cases = sources
    case = cases[name]
    source = out / name / case["source"]
    found = []
    for number, (naming, target) in enumerate(case["steps"]):
        target, ending = TARGETS.get(target, (target, ""))
        converted = tmp_path / f"{number}{ending}"
        answer = run(tmp_path, "convert", source, converted, "--to", target, "--naming", naming)
        assert answer.code == 0, answer.err
        found.append(converted)
        source = converted
    command = [PROGRAMS["models"], LAYOUTS, "check", out, name, *found]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert checked.returncode == 0, checked.stderr[-4000:]


TREES = {"keras": ["model.keras", "model.h5"], "flax": ["model.msgpack"], "tf-bert": ["."]}
"""Sources of `layouts_trees.py`, each converted by itself."""


@pytest.fixture(scope="session")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the sources of TensorFlow, Keras and Flax."""
    out = tmp_path_factory.mktemp("trees")
    command = [PROGRAMS["formats-tf"], HERE / "layouts_trees.py", out]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-4000:]
    return out


@pytest.mark.convert
@pytest.mark.parametrize("name", TREES)
def test_trees(name: str, trees: Path, tmp_path: Path) -> None:
    """torch computes with the converted weights what the library computed with its own."""
    found = []
    for number, source in enumerate(TREES[name]):
        converted = tmp_path / f"{number}.safetensors"
        answer = run(tmp_path, "convert", trees / name / source, converted, "--to", "safetensors", "--naming", "hf")
        assert answer.code == 0, answer.err
        found.append(converted)
    command = [PROGRAMS["models"], LAYOUTS, "check", trees, name, *found]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert checked.returncode == 0, checked.stderr[-4000:]
