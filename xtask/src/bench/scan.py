"""What `cargo xtask bench scan` needs of Python: the list of files, the peers, and files to measure with."""

import contextlib
import io
import json
import os
import pickle
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MALICIOUS = ("suspicious", "error", "unsafe")


def files(root):
    """Files of the corpus: malicious samples, and benign files that libraries wrote."""
    root = Path(root)
    for name, sample in json.loads((root / "samples/samples.json").read_text()).items():
        path = root / "samples" / sample["target"]
        if path.is_file():
            yield {"path": str(path), "malicious": sample["expected"] in MALICIOUS}
    for oracle in sorted((root / "torch").rglob("oracle.json")) + sorted((root / "tf").rglob("oracle.json")):
        said = json.loads(oracle.read_text())
        path = oracle.parent / said.get("target", "missing")
        if path.is_file() and "error" not in said and "own-class" not in str(path):
            yield {"path": str(path), "malicious": False}


def picklescan(path):
    from picklescan.scanner import scan_file_path

    found = scan_file_path(path)
    return not (found.infected_files or found.scan_err or found.issues_count)


def modelscan(path):
    from modelscan.modelscan import ModelScan

    found = ModelScan().scan(path)
    errors = [error for error in found.get("errors", []) if error]
    return found["summary"]["total_issues"] == 0 and not errors


def fickling(path):
    from fickling.analysis import Severity, check_safety
    from fickling.fickle import Pickled, StackedPickle

    def safe(stream):
        return all(check_safety(Pickled(one)).severity <= Severity.LIKELY_SAFE for one in StackedPickle.load(stream))

    import zipfile

    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.endswith(".pkl")]
            return all(safe(io.BytesIO(archive.read(name))) for name in names)
    with open(path, "rb") as file:
        return safe(file)


def modelaudit(path):
    program = Path(sys.executable).with_name("modelaudit")
    environment = os.environ | {"PROMPTFOO_DISABLE_TELEMETRY": "1", "NO_ANALYTICS": "1", "DO_NOT_TRACK": "1"}
    done = subprocess.run([program, "scan", "--format", "json", path], capture_output=True, timeout=300, env=environment)
    return done.returncode == 0


PEERS = {"picklescan": picklescan, "modelscan": modelscan, "fickling": fickling, "modelaudit": modelaudit}


def fine(peer, path):
    """Whether the peer says nothing against the file; one that fails on it has said nothing."""
    with tempfile.TemporaryFile("w") as sink, contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
        try:
            return PEERS[peer](path)
        except ImportError:
            raise
        except Exception:
            return True


def judge(peer, listed):
    print(json.dumps([fine(peer, path) for path in json.loads(Path(listed).read_text())]))


def timed(peer, path):
    fine(peer, __file__ if "__file__" in globals() else os.devnull)
    began = time.monotonic()
    fine(peer, path)
    print(time.monotonic() - began)


def pickled(path, total_bytes):
    """Records of plain values, as data loaders keep them."""
    draw = random.Random(0)
    records, size = [], 0
    while size < int(total_bytes):
        record = {"id": draw.getrandbits(40), "score": draw.random(), "name": f"record {draw.getrandbits(30)}", "tags": [draw.getrandbits(8) for _ in range(6)]}
        size += 63
        records.append(record)
    with open(path, "wb") as file:
        pickle.dump(records, file, protocol=4)


def torch(path, total_bytes):
    import torch

    count = 200
    side = int((int(total_bytes) / 4 / count) ** 0.5)
    torch.save({f"layer.{number}.weight": torch.randn(side, side) for number in range(count)}, path)


if __name__ == "__main__":
    verb, *rest = sys.argv[1:]
    if verb == "list":
        print(json.dumps(list(files(*rest))))
    else:
        {"judge": judge, "time": timed, "pickled": pickled, "torch": torch}[verb](*rest)
