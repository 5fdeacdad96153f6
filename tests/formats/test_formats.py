"""What `wh inspect` says about checkpoints that the real libraries wrote, and that hostile files do it no harm."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from attack import ATTACKS
from catalogue import FAMILIES, TENSORFLOW, TORCH
from comparison import differences
from harness.formats import Cells
from harness.run import CONTROL, LIMIT_KIB, LIMIT_S, PANIC, Answer, run

HERE = Path(__file__).parent
FIXTURES = TORCH | TENSORFLOW

EXPECTED: Mapping[str, str] = json.loads((HERE / "attacks" / "expected.json").read_text())
"""What is said of each hostile file, as it stands in the output; nothing where it is read and does no harm."""


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
