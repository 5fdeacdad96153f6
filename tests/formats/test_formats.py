"""What `wh inspect` says about checkpoints that the real libraries wrote, and that hostile files do it no harm."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from attack import ATTACKS
from catalogue import FAMILIES, TENSORFLOW, TORCH
from comparison import differences
from harness.drivers import PROGRAMS
from harness.formats import Cells

HERE = Path(__file__).parent
WH = os.environ.get("WH_BIN", "wh")
FIXTURES = TORCH | TENSORFLOW

EXPECTED: Mapping[str, str] = json.loads((HERE / "attacks" / "expected.json").read_text())
"""What is said of each hostile file, as it stands in the output; nothing where it is read and does no harm."""

LIMIT_S = 10
LIMIT_KIB = 300 * 1024
PANIC = 101
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u200b\u202a-\u202e\u2066-\u2069\ufeff]")

WRITERS = {
    "torch": ("models", "write_torch.py"),
    "tf": ("formats-tf", "write_tf.py"),
    "attack": ("formats-tf", "attack.py"),
}
"""Sets of files: which interpreter writes them, by which script."""


@dataclass(frozen=True)
class Answer:
    """How a run of `wh` ended."""

    code: int
    """Negative: a signal."""
    out: str
    err: str
    seconds: float
    peak_kib: int


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Path]]:
    """Folders with the sets of files; `$WH_FIXTURES` names a folder of them that is there already."""
    if ready := os.environ.get("WH_FIXTURES"):
        yield {name: Path(ready) / name for name in WRITERS}
        return
    out = tmp_path_factory.mktemp("formats")
    running = {}
    for name, (program, script) in WRITERS.items():
        command = [PROGRAMS[program], HERE / script, out / name]
        with (out / f"{name}.log").open("w") as log:
            running[name] = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    for name, process in running.items():
        # Writers note in the oracle what went wrong with a fixture; this is about all of them.
        process.wait(timeout=1200)
        if not (out / name).exists():
            pytest.fail((out / f"{name}.log").read_text()[-4000:])
    yield {name: out / name for name in WRITERS}


def run(folder: Path, *words: str | Path) -> Answer:
    """Runs `wh` in a folder, for at most a minute."""
    out, err, note = folder / "stdout", folder / "stderr", folder / "note"
    command = [sys.executable, "-I", "-S", HERE / "watched.py", note, WH, *words]
    began = time.monotonic()
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, cwd=folder, start_new_session=True
        )
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    seconds = time.monotonic() - began
    code, peak = note.read_text().split() if note.exists() else (-signal.SIGKILL, 0)
    texts = (path.read_text(errors="replace") for path in (out, err))
    return Answer(int(code), *texts, seconds, int(peak) // (1024 if sys.platform == "darwin" else 1))


@pytest.mark.formats
@pytest.mark.parametrize("name", FIXTURES)
def test_fixture(name: str, written: Mapping[str, Path], format_cells: Cells, tmp_path: Path) -> None:
    """Everything that the library loads is said, and nothing else."""
    folder = written["torch" if name in TORCH else "tf"] / name
    oracle = json.loads((folder / "oracle.json").read_text())
    assert "error" not in oracle, f"the fixture could not be written:\n{oracle['error']}"
    answer = run(tmp_path, "inspect", folder / oracle["target"], "--json", "--hash")
    found = compare(answer, oracle)
    title = FIXTURES[name][1]
    for aspect, wrong in found.items():
        format_cells.note(title, FAMILIES.get(oracle["family"]), aspect, not wrong)
    lines = [f"  {aspect}: {line}" for aspect, wrong in found.items() for line in wrong]
    assert not lines, "\n".join([f"{folder / oracle['target']} differs from what the library loads:", *lines])


def compare(answer: Answer, oracle: Mapping[str, Any]) -> Mapping[Any, list[str]]:
    """The differences; a run that failed differs in everything that the oracle claims."""
    if answer.code == 0:
        return differences(json.loads(answer.out), oracle)
    nothing = {"schema": None, "formats": [], "tensors": []}
    text = f"exit code {answer.code}: {answer.err.strip()[-1000:]}"
    return {aspect: [text] for aspect in differences(nothing, oracle)}


@pytest.mark.formats
@pytest.mark.parametrize("name", ATTACKS)
def test_attack(name: str, written: Mapping[str, Path], tmp_path: Path) -> None:
    """No crash, no hang, no flood of memory, no foreign code, no foreign file."""
    listed = json.loads((written["attack"] / "attacks.json").read_text())
    target = written["attack"] / listed[name]["target"]
    answer = run(tmp_path, "inspect", target, "--json", "--hash")
    text = answer.out + answer.err
    assert answer.code >= 0, f"ended by signal {-answer.code} after {answer.seconds:.1f} s: {text[-2000:]}"
    assert answer.code != PANIC, answer.err[-4000:]
    assert answer.seconds < LIMIT_S, f"{answer.seconds:.1f} s"
    assert answer.peak_kib < LIMIT_KIB, f"{answer.peak_kib // 1024} MiB"
    assert not (tmp_path / "pwned").exists(), "the payload ran"
    assert EXPECTED[name] in text, f"`{EXPECTED[name]}` is not said: {text[-2000:]}"
    if answer.code == 0:
        json.loads(answer.out)
    else:
        assert answer.err.strip(), "refused without a word"
    if ATTACKS[name].names:
        told = run(tmp_path, "inspect", target)
        assert not CONTROL.search(told.out + told.err), "control characters reach the terminal"
