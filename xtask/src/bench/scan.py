"""What `cargo xtask bench scan` needs of Python: the list of files, the peers, and files to measure with."""

import contextlib
import io
import json
import os
import pickle
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MALICIOUS = ("suspicious", "error", "unsafe")
OWN = ("torch-module/own-class", "torch-module/legacy", "lightning/own-class")


def files(samples, *written):
    """Files of the corpus: malicious samples, and benign files that libraries wrote."""
    for name, sample in json.loads((Path(samples) / "samples.json").read_text()).items():
        path = Path(samples) / sample["target"]
        if path.is_file():
            kind = "benign" if sample["expected"] not in MALICIOUS else "held out" if name.startswith("evasion/") else "malicious"
            yield {"path": str(path), "kind": kind}
    for folder in written:
        for oracle in sorted(Path(folder).rglob("oracle.json")):
            said = json.loads(oracle.read_text())
            path = oracle.parent / said.get("target", "missing")
            # Classes of the script itself are nobody's known classes.
            if path.is_file() and "error" not in said and str(oracle.parent.relative_to(folder)) not in OWN:
                yield {"path": str(path), "kind": "benign"}


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
    os.environ |= {"PROMPTFOO_DISABLE_TELEMETRY": "1", "NO_ANALYTICS": "1", "DO_NOT_TRACK": "1"}
    from modelaudit.core import determine_exit_code, scan_model_directory_or_file

    found = scan_model_directory_or_file(path, cache_enabled=False)
    if found.files_scanned == 0 and not found.issues:
        return True
    return determine_exit_code(found) == 0


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
    """Seconds by the clock and of the processor, once what the peer needs is loaded."""
    with tempfile.NamedTemporaryFile(suffix=".pkl") as small:
        small.write(pickle.dumps({}))
        small.flush()
        fine(peer, small.name)
    began, used = time.monotonic(), time.process_time()
    fine(peer, path)
    print(json.dumps([[time.monotonic() - began, time.process_time() - used]]))


def own(runs, *command):
    """Seconds by the clock and of the processor that a program takes from start to end, several times."""
    taken = []
    for _ in range(int(runs)):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append([wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime])
    print(json.dumps(taken))


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
        {"judge": judge, "time": timed, "own": own, "pickled": pickled, "torch": torch}[verb](*rest)
