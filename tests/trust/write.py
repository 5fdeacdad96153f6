"""Writes the samples: `python write.py OUT [PREFIX …]`, by a Python that has h5py.

Each lies in a folder of its own; `samples.json` says what `wh scan` is given, and what it must say. The payloads are
harmless: one that runs makes an empty folder called `pwned`.
"""

import json
import shutil
import sys
from importlib import import_module
from pathlib import Path

from samples.build import SAMPLES

for name in ("pickles", "archives", "documents", "graphs", "headers", "evasions"):
    import_module(f"samples.{name}")


def main() -> int:
    out, wanted = Path(sys.argv[1]), sys.argv[2:]
    listed = {}
    for name, sample in SAMPLES.items():
        if wanted and not any(name.startswith(prefix) for prefix in wanted):
            continue
        folder = out / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        target = sample.write(folder)
        path = str(Path(name) / target) if target else name
        listed[name] = {"target": path, "expected": sample.expected, "family": sample.family}
    (out / "samples.json").write_text(json.dumps(listed, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
