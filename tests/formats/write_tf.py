"""Writes the fixtures of TensorFlow, Keras, Flax and Orbax: `python write_tf.py OUT [PREFIX …]`."""

import os
import sys
import warnings
from importlib import import_module
from pathlib import Path

os.environ |= {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "",
    "JAX_PLATFORMS": "cpu",
    "KERAS_BACKEND": "tensorflow",
    "TF_USE_LEGACY_KERAS": "0",
}


def main() -> int:
    import oracle
    from catalogue import TENSORFLOW

    warnings.simplefilter("ignore")
    for name in ("tensorflow_files", "keras_files", "jax_files"):
        import_module(f"writers.{name}")
    return oracle.run(Path(sys.argv[1]), TENSORFLOW, sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
