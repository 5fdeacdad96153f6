"""Makes PyPI's CUDA build of torch import on a machine without CUDA.

On Linux x86-64 the registry has only the CUDA build, whose libraries (cuDNN, cuBLAS, NCCL, ...)
are another 2.4 GB that a forward pass on the CPU never calls. They must exist for the loader all
the same: this writes small libraries with those names, in which every function fails.
The small ones that run at import (the CUDA runtime, CUPTI) are installed for real.

Run by the interpreter of the environment that has torch in it: `python cpu_torch.py`.
"""

import re
import subprocess
import sys
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path
from tempfile import NamedTemporaryFile

STUBBED = re.compile(
    r"lib(cublas|cublasLt|cuda|cudnn|cufft|cufile|cusolver|cusparse|cusparseLt|nccl|nvrtc|nvshmem_host)\.so\."
)
SYMBOL = re.compile(r"cu[A-Z]|cublas|cudnn|cufft|cufile|cusolver|cusparse|nccl|nvrtc|nvshmem")


def lines(*command: str) -> list[str]:
    """Lines that a program prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def compile_stub(path: Path, version: str, symbols: list[str]) -> None:
    """Builds a shared library whose functions all answer 1, an error in every CUDA library.

    The loader insists on the symbol version (`cublasSdot@libcublas.so.13`) where a caller names one.
    """
    source = "".join(f"int {symbol}(void) {{ return 1; }}\n" for symbol in symbols)
    command = ["cc", "-shared", "-w", "-x", "c", f"-Wl,-soname,{path.name}", "-o", str(path), "-"]
    with NamedTemporaryFile("w", suffix=".map") as script:
        if version:
            script.write(f"{version} {{ global: *; }};")
            script.flush()
            command.insert(1, f"-Wl,--version-script={script.name}")
        subprocess.run(command, input=source, text=True, check=True)


def stub_cuda(lib: Path) -> list[str]:
    """Writes the missing libraries into torch's own `lib` folder and returns their names."""
    shipped = [str(path) for path in sorted(lib.glob("lib*.so"))]
    needed = {m[1] for line in lines("readelf", "-dW", *shipped) if (m := re.search(r"NEEDED.*\[(.+)\]", line))}
    by_version: dict[str, set[str]] = defaultdict(set)
    for line in lines("nm", "-D", "--undefined-only", *shipped):
        symbol, _, version = line.split()[-1].partition("@") if line else ("", "", "")
        if SYMBOL.match(symbol):
            by_version[version].add(symbol)
    names = sorted(name for name in needed if STUBBED.match(name))
    for name in names:
        version = "NVSHMEM" if "nvshmem" in name else name if name in by_version else ""
        compile_stub(lib / name, version, sorted(by_version[version]))
    return names


def main() -> int:
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        print("torch is not installed here", file=sys.stderr)
        return 1
    lib = Path(spec.origin).parent / "lib"
    if (lib / "libtorch_cuda.so").exists():
        print("stubbed:", ", ".join(stub_cuda(lib)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
