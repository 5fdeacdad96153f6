"""What `wh diff` says of pairs of checkpoints that the real libraries wrote, and that hostile files do it no harm."""

import json
import subprocess
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from attack import ATTACKS

from harness.drivers import PROGRAMS
from harness.run import LIMIT_KIB, LIMIT_S, PANIC, Answer, run

WRITER = Path(__file__).parent / "write_diffs.py"
DIFFERENT = 10


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of checkpoints, and `cases.json`."""
    out = tmp_path_factory.mktemp("diff") / "pairs"
    out.mkdir()
    done = subprocess.run([PROGRAMS["models"], WRITER, out], capture_output=True, text=True, timeout=1200)
    if done.returncode != 0:
        pytest.fail((done.stdout + done.stderr)[-4000:])
    return out


def wrong(case: dict[str, Any], answer: Answer) -> list[str]:
    """What an answer has that the case does not want."""
    if answer.code not in (0, DIFFERENT):
        return [f"exit code {answer.code}: {answer.err.strip()[-1000:]}"]
    verdict = json.loads(answer.out)["verdict"]
    faults = []
    if verdict["kind"] != case["kind"]:
        faults.append(f"`{verdict['kind']}` instead of `{case['kind']}`: {verdict['sentence']}")
    faults += [f"`{words}` is not in: {verdict['sentence']}" for words in case["words"] if words not in verdict["sentence"]]
    if verdict["equal"] != case["equal"] or (answer.code == 0) != case["equal"]:
        faults.append(f"equal is {verdict['equal']}, exit code {answer.code}")
    return faults


@pytest.mark.diff
def test_verdicts(pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every change gets its verdict: the table of what was done and what was said has nothing beside its diagonal."""
    cases = json.loads((pairs / "cases.json").read_text())
    table: Counter[tuple[str, str]] = Counter()
    faults = []
    for case in cases:
        third = ["--with", pairs / case["with"]] if case["with"] else []
        answer = run(tmp_path, "diff", pairs / case["a"], pairs / case["b"], *third, "--json")
        said = json.loads(answer.out)["verdict"]["kind"] if answer.code in (0, DIFFERENT) else f"code {answer.code}"
        table[case["kind"], said] += 1
        faults += [f"{case['name']}: {fault}" for fault in wrong(case, answer)]
    with capsys.disabled():
        print("\n" + confusion(table))
    assert len(cases) > 60
    assert not faults, "\n".join(faults)


def confusion(table: Counter[tuple[str, str]]) -> str:
    """The table in words: a line for each thing that was done, a column for each that was said."""
    done = sorted({pair[0] for pair in table})
    said = sorted({pair[1] for pair in table})
    width = max(map(len, done))
    lines = [" " * width + "  said " + " ".join(f"{number:>3}" for number in range(1, len(said) + 1))]
    for kind in done:
        counts = " ".join(f"{table[kind, other] or '·':>3}" for other in said)
        lines.append(f"{kind:<{width}}       {counts}")
    lines += [f"{number:>3} {kind}" for number, kind in enumerate(said, 1)]
    return "\n".join(lines)


@pytest.mark.diff
@pytest.mark.parametrize("name", ATTACKS)
def test_attack_compared(name: str, written: Mapping[str, Path], tmp_path: Path) -> None:
    """A hostile file beside itself and beside a good one: an answer or an error, and never harm."""
    listed = json.loads((written["attack"] / "attacks.json").read_text())
    target = written["attack"] / listed[name]["target"]
    good = tmp_path / "good.safetensors"
    header = json.dumps({"w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}).encode()
    good.write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))
    for other in (target, good):
        answer = run(tmp_path, "diff", target, other, "--json")
        assert answer.code >= 0, f"ended by signal {-answer.code} after {answer.seconds:.1f} s: {answer.err[-2000:]}"
        assert answer.code != PANIC, answer.err[-4000:]
        assert answer.seconds < 2 * LIMIT_S, f"{answer.seconds:.1f} s"
        assert not (tmp_path / "pwned").exists(), "the payload ran"
        if answer.code in (0, DIFFERENT):
            json.loads(answer.out)
        else:
            assert answer.err.strip(), "refused without a word"
        assert answer.peak_kib < LIMIT_KIB, f"{answer.peak_kib // 1024} MiB"
