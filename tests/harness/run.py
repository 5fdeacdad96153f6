"""Runs `wh` as a user would, and measures what it takes."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

WH = os.environ.get("WH_BIN", "wh")
LIMIT_S = 10
"""No hostile file may take longer."""
LIMIT_KIB = 300 * 1024
"""No hostile file may take more memory."""
PANIC = 101
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u200b\u202a-\u202e\u2066-\u2069\ufeff]")


@dataclass(frozen=True)
class Answer:
    """How a run of `wh` ended."""

    code: int
    """Negative: a signal."""
    out: str
    err: str
    seconds: float
    peak_kib: int


def run(folder: Path, *words: str | Path, patience_s: float = 60) -> Answer:
    """Runs `wh` in a folder, for at most a minute."""
    out, err, note = folder / "stdout", folder / "stderr", folder / "note"
    note.unlink(missing_ok=True)
    command = [sys.executable, "-I", "-S", Path(__file__).with_name("watched.py"), note, WH, *words]
    began = time.monotonic()
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, cwd=folder, start_new_session=True
        )
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    seconds = time.monotonic() - began
    code, peak = note.read_text().split() if note.exists() else (-signal.SIGKILL, 0)
    texts = (path.read_text(errors="replace") for path in (out, err))
    return Answer(int(code), *texts, seconds, int(peak) // (1024 if sys.platform == "darwin" else 1))
