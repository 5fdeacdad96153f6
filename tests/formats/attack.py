"""Writes hostile files: `python attack.py OUT [PREFIX …]`, by a Python that has h5py.

Each lies in a folder of its own, `FORMAT/NAME/`; `attacks.json` says what `wh inspect` is given. The payloads are
harmless: a pickle that is run makes an empty folder called `pwned`.
"""

import json
import shutil
import sys
from importlib import import_module
from pathlib import Path

from attacks.build import ATTACKS

MODULES = "safetensors_files torch_files pickles gguf_files arrays protobufs archives hdf5"

for name in MODULES.split():
    import_module(f"attacks.{name}")


def main() -> int:
    out, wanted = Path(sys.argv[1]), sys.argv[2:]
    targets = {}
    for name, attack in ATTACKS.items():
        if wanted and not any(name.startswith(prefix) for prefix in wanted):
            continue
        folder = out / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        target = attack.write(folder)
        targets[name] = {"target": str(Path(name) / target) if target else name}
    (out / "attacks.json").write_text(json.dumps(targets, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
