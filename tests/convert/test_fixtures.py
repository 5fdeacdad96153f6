"""Checkpoints that the real libraries wrote, converted, and loaded by the real libraries again."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from attack import ATTACKS
from catalogue import TENSORFLOW, TORCH
from harness.drivers import PROGRAMS
from harness.run import CONTROL, LIMIT_KIB, LIMIT_S, PANIC, Answer, run

FIXTURES = TORCH | TENSORFLOW
HERE = Path(__file__).parent

TARGETS = ("safetensors", "bin", "npz")
HELD = {
    "safetensors": "BOOL F4 F6_E2M3 F6_E3M2 U8 I8 F8_E5M2 F8_E4M3 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ I16 U16 F16 BF16 "
    "I32 U32 F32 C64 F64 I64 U64",
    "bin": "BOOL U8 I8 F8_E5M2 F8_E4M3 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ I16 U16 F16 BF16 I32 U32 F32 C64 F64 I64 U64 "
    "C32 C128",
    "npz": "BOOL U8 I8 I16 U16 F16 I32 U32 F32 C64 F64 I64 U64 C128",
}
"""Types that each format holds as they are."""


@pytest.fixture(scope="session")
def loader() -> Any:
    """Loads files with the real libraries, one process for all."""
    process = subprocess.Popen(
        [PROGRAMS["models"], HERE / "load.py"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )

    def load(path: Path) -> Mapping[str, Any]:
        assert process.stdin and process.stdout
        process.stdin.write(f"{path}\n")
        return json.loads(process.stdout.readline())

    yield load
    assert process.stdin
    process.stdin.close()
    process.wait(60)


@pytest.mark.convert
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", FIXTURES)
def test_fixture(name: str, target: str, written: Mapping[str, Path], loader: Any, tmp_path: Path) -> None:
    """Every tensor arrives bit for bit, or the conversion is refused before anything is written."""
    folder = written["torch" if name in TORCH else "tf"] / name
    oracle = json.loads((folder / "oracle.json").read_text())
    assert "error" not in oracle, f"the fixture could not be written:\n{oracle['error']}"
    wanted: Mapping[str, Any] = oracle["tensors"] or {}
    out = tmp_path / f"out.{target}"
    answer = run(tmp_path, "convert", folder / oracle["target"], out, "--json")
    if answer.code != 0:
        refused(answer, wanted, out, target)
        return
    record = json.loads(answer.out)
    assert record["schema"] == "weighthouse.convert/1"
    loaded = loader(out)
    assert "error" not in loaded, loaded.get("error")
    if oracle["tensors"] is None:
        return
    problems = list(differences(loaded["tensors"], wanted, oracle["optional"], target, record["notes"]))
    assert not problems, "\n".join(problems[:10])


def refused(answer: Answer, wanted: Mapping[str, Any], out: Path, target: str) -> None:
    """Only what the format cannot hold may be refused, and only by name."""
    assert answer.code == 9, f"exit code {answer.code}: {answer.err[-2000:]}"
    assert not out.exists()
    if target == "npz" and any(not plain(name) for name in wanted):
        assert "name" in answer.err, answer.err
        return
    held = HELD[target].split()
    strange = {one["dtype"] for one in wanted.values() if one["dtype"] not in held and not quantised(one)}
    assert strange or not wanted, f"refused without need: {answer.err}"
    if wanted:
        assert any(dtype in answer.err for dtype in strange) or "text" in answer.err, answer.err


def plain(name: str) -> bool:
    """Whether an archive may have a member of this name: it stays inside a folder."""
    return bool(name) and not name.startswith("/") and "\0" not in name and ".." not in name.split("/")


def quantised(one: Mapping[str, Any]) -> bool:
    """Whether it is a block type of GGUF, which becomes F32."""
    return one["dtype"].startswith(("Q4", "Q5", "Q8", "Q2_K", "Q3_K", "Q6_K", "IQ", "TQ", "MXFP4", "NVFP4", "Q1_0"))


def differences(
    loaded: Mapping[str, Any], wanted: Mapping[str, Any], optional: list[str], target: str, notes: list[str]
) -> Any:
    """What differs between what the library loads now and what it loaded before."""
    said = "\n".join(notes)
    for name, one in wanted.items():
        if name not in loaded:
            if name not in optional and f"`{name}` shares" not in said and "more share" not in said:
                yield f"`{name}` is missing"
            continue
        found = loaded[name]
        if found["shape"] != one["shape"]:
            yield f"`{name}` has shape {found['shape']}, not {one['shape']}"
        if quantised(one):
            digest = one.get("dequantized_sha256")
            if digest and found["sha256"] != digest:
                yield f"`{name}` is not what the library dequantises"
        elif found["dtype"] != one["dtype"]:
            yield f"`{name}` is {found['dtype']}, not {one['dtype']}"
        elif one["sha256"] and found["sha256"] != one["sha256"]:
            yield f"`{name}` has other values"
    for name in loaded:
        if name not in wanted and name not in optional:
            yield f"`{name}` was not there"


@pytest.mark.convert
@pytest.mark.parametrize("name", ATTACKS)
def test_attack(name: str, written: Mapping[str, Path], tmp_path: Path) -> None:
    """A hostile file does no harm, and leaves nothing half-written under the name that was asked for."""
    listed = json.loads((written["attack"] / "attacks.json").read_text())
    target = written["attack"] / listed[name]["target"]
    room = tmp_path / "room"
    room.mkdir()
    out = room / "out"
    answer = run(tmp_path, "convert", target, out)
    text = answer.out + answer.err
    assert answer.code >= 0, f"ended by signal {-answer.code} after {answer.seconds:.1f} s: {text[-2000:]}"
    assert answer.code != PANIC, answer.err[-4000:]
    assert answer.seconds < LIMIT_S, f"{answer.seconds:.1f} s"
    assert answer.peak_kib < LIMIT_KIB, f"{answer.peak_kib // 1024} MiB"
    assert not (tmp_path / "pwned").exists(), "the payload ran"
    assert not CONTROL.search(text), "control characters reach the terminal"
    left = {path.name for path in room.iterdir()}
    assert left <= ({"out"} if answer.code == 0 else {".out.wh-partial"}), left
    if answer.code != 0:
        assert answer.err.strip(), "refused without a word"
