"""Drives a real client in a process of its own.

A driver is a small program around one client. It reads the name of an operation per line of stdin, carries it out
against `HF_ENDPOINT` with `HF_TOKEN`, and answers one line of JSON: `{"outcome": …, "detail": …}`.
"""

import json
import os
import queue
import re
import subprocess
import sys
import threading
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO

from harness.hub import Account, Hub
from harness.meter import Meter

TESTS = Path(__file__).parent.parent
PROGRAMS: dict[str, str] = json.loads(os.environ.get("WH_TEST_PROGRAMS", "{}"))


class Outcome(StrEnum):
    """What a cell of the matrix says."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class Client:
    """A client at one version, and how to run its driver."""

    name: str
    part: str
    """Mark of its tests, and part of `cargo xtask test`."""
    program: str
    """Name of the interpreter or program that `cargo xtask test` made for it."""
    script: str | None = None
    xet: bool = False
    """Whether large files go through Xet, so that only new chunks are sent."""

    @property
    def slug(self) -> str:
        """Its name as a repository name."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")

    def command(self) -> list[str]:
        """The driver's command line."""
        program = sys.executable if self.program == "harness" else PROGRAMS[self.program]
        return [program] if self.script is None else [program, str(TESTS / self.script)]

    def available(self) -> bool:
        """Whether this run made its program."""
        return self.program == "harness" or self.program in PROGRAMS


@dataclass(frozen=True)
class Cell:
    """One operation by one client."""

    outcome: Outcome
    detail: str
    sent_bytes: int = 0
    stored_bytes: int = 0


class Session:
    """A running driver, its own home folder, and the meter on its line."""

    def __init__(self, client: Client, hub: Hub, account: Account, folder: Path, **settings: str) -> None:
        self._hub = hub
        self._meter = Meter(hub.port)
        self._errors = folder / "stderr.log"
        self._answers: queue.Queue[str | None] = queue.Queue()
        home = folder / "home"
        work = folder / "work"
        home.mkdir(parents=True)
        work.mkdir()
        environment = {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": str(home),
            "HF_ENDPOINT": self._meter.url,
            "HF_TOKEN": account.token,
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "WH_TEST_USER": account.name,
            "WH_TEST_REPO": f"{account.name}/{client.slug}",
            "WH_TEST_WORK": str(work),
            **settings,
        }
        self._meter.__enter__()
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                client.command(),
                env=environment,
                cwd=work,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                bufsize=1,
            )
        assert self._process.stdin and self._process.stdout
        self._stdin: IO[str] = self._process.stdin
        threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True).start()

    def run(self, operation: str, *, timeout_s: float = 180) -> Cell:
        """Carries out one operation and measures what it sent and what the hub stored."""
        sent, stored = self._meter.sent_bytes, self._hub.stored_bytes()
        try:
            self._stdin.write(operation + "\n")
            answer = self._answers.get(timeout=timeout_s)
        except (OSError, queue.Empty):
            self._process.kill()
            answer = None
        if answer is None:
            return Cell(
                Outcome.FAILED, f"the driver gave no answer:\n{self._errors.read_text(errors='replace')[-4000:]}"
            )
        try:
            parsed = json.loads(answer)
        except json.JSONDecodeError:
            self._process.kill()
            return Cell(Outcome.FAILED, f"the driver said something else than JSON: {answer}")
        sent_bytes = self._meter.sent_bytes - sent
        stored_bytes = self._hub.stored_bytes() - stored
        return Cell(Outcome(parsed["outcome"]), parsed.get("detail", ""), sent_bytes, stored_bytes)

    def close(self) -> None:
        """Ends the driver."""
        try:
            self._stdin.close()
            self._process.wait(20)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._meter.__exit__()

    def _read(self, lines: IO[str]) -> None:
        for line in lines:
            self._answers.put(line)
        self._answers.put(None)
