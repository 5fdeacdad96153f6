"""A hub of its own for one test run."""

import os
import socket
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Self

READY_WITHIN_S = 30.0


@dataclass(frozen=True)
class Account:
    """A user and the token of the same person."""

    name: str
    token: str

    @classmethod
    def named(cls, name: str) -> Self:
        """An account whose token has the shape that every client accepts: `hf_` and 34 letters."""
        letters = name.replace("_", "").replace("-", "")
        return cls(name, "hf_" + (letters * 34)[:34])


class Hub:
    """`wh serve` on a fresh data folder and a free port."""

    def __init__(self, folder: Path) -> None:
        self.binary = os.environ.get("WH_BIN", "target/debug/wh")
        self.data = folder / "data"
        self.log = folder / "serve.log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        command = [self.binary, "serve", "--data", str(self.data), "--listen", f"127.0.0.1:{self.port}"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + READY_WITHIN_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"the hub did not start:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Asks the server to shut down, and ends it if it has not after 20 s."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def admin(self, *words: str) -> str:
        """Runs `wh admin …` beside the running server and returns what it prints."""
        command = [self.binary, "admin", *words, "--data", str(self.data)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise RuntimeError(f"`wh admin {' '.join(words)}` ended with {done.returncode}: {done.stderr}")
        return done.stdout

    def add(self, name: str) -> Account:
        """Makes a user with a token that may write."""
        account = Account.named(name)
        self.admin("user", "add", name)
        self.admin("token", "add", name, "--scope", "write", "--value", account.token)
        return account

    def stored_bytes(self) -> int:
        """Size of the data folder without the catalog, whose journal grows and shrinks by itself."""
        files = (path for path in self.data.rglob("*") if path.is_file() and "sqlite" not in path.name)
        return sum(path.stat().st_size for path in files)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def free_port() -> int:
    """A loopback port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
