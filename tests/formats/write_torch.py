"""Writes the fixtures of torch's world, GGUF, ONNX and NumPy: `python write_torch.py OUT [PREFIX …]`."""

import logging
import os
import sys
import warnings
from pathlib import Path

os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}

MODULES = (
    "torch_values hf ggml numeric onnx_files torch_modules torch_optimizers distributed training deepspeed_files "
    "diffusion reinforcement yolo layouts"
)


def main() -> int:
    from importlib import import_module

    import oracle
    from catalogue import TORCH

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    for name in MODULES.split():
        import_module(f"writers.{name}")
    return oracle.run(Path(sys.argv[1]), TORCH, sys.argv[2:])


# torch starts processes that import this file.
if __name__ == "__main__":
    sys.exit(main())
