"""What goes wrong in the middle of a conversion: processes that are killed, disks that are full, sources that vanish."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.run import WH, run

TENSORS = 24
BYTES = 8 << 20
"""Of one tensor."""
ROUNDS = int(os.environ.get("WH_KILL_ROUNDS", "12"))


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A safetensors file of 200 MB."""
    path = tmp_path_factory.mktemp("source") / "model.safetensors"
    header = {
        f"layers.{at}.weight": {
            "dtype": "F32",
            "shape": [1024, BYTES // 4096],
            "data_offsets": [at * BYTES, (at + 1) * BYTES],
        }
        for at in range(TENSORS)
    }
    text = json.dumps(header).encode()
    noise = random.Random(7)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _ in range(TENSORS):
            # Exponents like those of weights, so that no cast overflows.
            raw = bytearray(noise.randbytes(BYTES))
            raw[3::4] = bytes([0x3C]) * (BYTES // 4)
            file.write(raw)
    return path


@pytest.mark.convert
def test_a_killed_conversion_leaves_nothing_and_goes_on(source: Path, tmp_path: Path) -> None:
    """kill -9 at random moments: the destination is complete or not there, and the next run gives the same bytes."""
    good = tmp_path / "good"
    words = ("--dtype", "bf16", "--max-shard-size", "40MB", "--quiet")
    began = time.monotonic()
    answer = run(tmp_path, "convert", source, good, *words)
    took = time.monotonic() - began
    assert answer.code == 0, answer.err
    wanted = {path.name: digest(path) for path in good.iterdir() if path.suffix == ".safetensors"}
    assert len(wanted) > 1
    dice = random.Random(11)
    killed = 0
    for number in range(ROUNDS):
        out = tmp_path / f"out-{number}"
        for _ in range(50):
            process = subprocess.Popen([WH, "convert", source, out, *words], stdout=subprocess.DEVNULL)
            try:
                process.wait(dice.uniform(0.02, took))
                assert process.returncode == 0
                break
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                killed += 1
                assert not out.exists() or sorted(path.name for path in out.iterdir()) == sorted(
                    path.name for path in good.iterdir()
                ), "half a conversion is at the destination"
                if out.exists():
                    break
        else:
            assert run(tmp_path, "convert", source, out, *words).code == 0
        assert {path.name: digest(path) for path in out.iterdir() if path.suffix == ".safetensors"} == wanted
        shutil.rmtree(out)
    assert killed >= ROUNDS / 2, f"only {killed} runs were killed"


@pytest.mark.convert
def test_a_conversion_goes_on_where_it_was(source: Path, tmp_path: Path) -> None:
    """What an earlier run has written is read, not made again."""
    out = tmp_path / "out"
    process = subprocess.Popen([WH, "convert", source, out, "--max-shard-size", "20MB", "--quiet"])
    staged = tmp_path / ".out.wh-partial" / "out"
    deadline = time.monotonic() + 60
    while len(list(staged.glob("*.safetensors"))) < 4 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if out.exists():
        pytest.fail("the conversion was done before it could be killed")
    first = sorted(staged.glob("*.safetensors"))[0]
    before = first.stat().st_mtime_ns
    assert run(tmp_path, "convert", source, out, "--max-shard-size", "20MB", "--quiet").code == 0
    assert (out / first.name).stat().st_mtime_ns == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.mark.convert
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_full_disk_is_said_and_the_conversion_goes_on_later(source: Path, small_disk: Path, tmp_path: Path) -> None:
    """Nothing is left under the final name; when there is room the same command finishes."""
    out = small_disk / "out.safetensors"
    answer = run(tmp_path, "convert", source, out, "--dtype", "bf16")
    assert answer.code == 8, answer.err
    assert "No space left" in answer.err or "full" in answer.err, answer.err
    assert "same command" in answer.err
    assert not out.exists()
    subprocess.run(["mount", "-o", "remount,size=400m", small_disk], check=True)
    assert run(tmp_path, "convert", source, out, "--dtype", "bf16").code == 0
    elsewhere = tmp_path / "elsewhere.safetensors"
    assert run(tmp_path, "convert", source, elsewhere, "--dtype", "bf16").code == 0
    assert digest(out) == digest(elsewhere)


@pytest.mark.convert
def test_a_source_that_changes_is_refused_with_its_name(source: Path, tmp_path: Path) -> None:
    """Half old and half new weights are never written."""
    mine = tmp_path / "changing.safetensors"
    shutil.copyfile(source, mine)
    out = tmp_path / "out.safetensors"
    process = subprocess.Popen([WH, "convert", mine, out, "--quiet"], stderr=subprocess.PIPE, text=True)
    staged = tmp_path / ".out.safetensors.wh-partial" / "out" / "out.safetensors"
    deadline = time.monotonic() + 60
    while not staged.exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    with mine.open("r+b") as file:
        file.seek(1 << 20)
        file.write(b"other bytes")
    _, err = process.communicate()
    assert process.returncode == 5, err
    assert "changing.safetensors" in err and "changed" in err
    assert not out.exists()


@pytest.mark.convert
def test_verify_finds_one_changed_byte(source: Path, tmp_path: Path) -> None:
    """A record proves the result, and the way from the source to it."""
    out = tmp_path / "out.safetensors"
    assert run(tmp_path, "convert", source, out, "--dtype", "f16").code == 0
    answer = run(tmp_path, "verify", out, "--source", source, "--json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert found["right"] and [one["state"] for one in found["again"]] == ["same"]
    with out.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    answer = run(tmp_path, "verify", out)
    assert answer.code == 7
    assert "differs" in answer.out
