"""Every fixture and the format that `wh inspect` must see in it, in the order of the table in the documentation.

A fixture is `GROUP/NAME`. Its format is that of its group, or stands behind a colon.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Group:
    """Fixtures of one kind."""

    name: str
    format: str
    """Spelling in the `formats` of `wh inspect --json`."""
    title: str
    """Row of the table."""
    fixtures: str

    def items(self) -> dict[str, tuple[str, str]]:
        """Format and title by the fixture's name."""
        found = {}
        for word in self.fixtures.split():
            name, _, other = word.partition(":")
            found[f"{self.name}/{name}"] = (other or self.format, TITLES.get(other, self.title))
        return found


TITLES = {
    "torch-legacy": "torch, legacy stream",
    "tf-v1": "TensorFlow 1 checkpoint",
    "pickle": "pickle, joblib",
    "torch": "torch, zip",
}
"""Rows of the formats that stand behind a colon."""

TORCH_GROUPS = (
    Group(
        "safetensors",
        "safetensors",
        "safetensors",
        "bert gpt2 llama mixtral t5 resnet timm-resnet whisper wav2vec2 sharded dtypes fp6 empty names mlx",
    ),
    Group(
        "torch",
        "torch",
        "torch, zip",
        "bert gpt2 llama mixtral t5 resnet timm-resnet whisper wav2vec2 sharded dtypes views quantised sparse nested "
        "big-endian no-checksums",
    ),
    Group("torch-legacy", "torch-legacy", "torch, legacy stream", "bert t5 dtypes views quantised"),
    Group(
        "torch-module",
        "torch",
        "torch, whole module",
        "own-class legacy:torch-legacy bert timm-resnet quantised",
    ),
    Group(
        "torch-training",
        "torch",
        "torch, training loop",
        "adam adamw sgd rmsprop adagrad adadelta adamax nadam radam rprop asgd lbfgs adafactor optimizer-alone groups "
        "legacy-bert:torch-legacy data-parallel",
    ),
    Group("torchscript", "torchscript", "TorchScript", "scripted traced-resnet half"),
    Group("pt2", "pt2", "PT2 export", "dense resnet"),
    Group("dcp", "dcp", "PyTorch DCP", "one-rank two-ranks model-only placements dtypes"),
    Group("dcp-hf", "safetensors", "PyTorch DCP in safetensors", "two-ranks consolidated"),
    Group("fsdp", "fsdp-ranks", "FSDP, a file per rank", "per-rank placements"),
    Group("deepspeed", "deepspeed", "DeepSpeed ZeRO", "zero1 zero2 zero3 zero2-tied universal"),
    Group("megatron", "megatron", "Megatron", "one-rank tensor-parallel"),
    Group("folder", "hf-model", "transformers folder", "tokenizer optimizer-beside:torch"),
    Group("trainer", "hf-trainer", "transformers Trainer", "bert"),
    Group("accelerate", "accelerate", "accelerate", "state"),
    Group("lightning", "lightning", "Lightning", "plain own-class"),
    Group("peft", "peft", "PEFT", "lora dora"),
    Group("diffusers", "diffusers", "diffusers", "pipeline sharded unet:safetensors"),
    Group(
        "stable-diffusion", "stable-diffusion", "Stable Diffusion, one file", "safetensors ckpt kohya-lora:safetensors"
    ),
    Group("yolo", "ultralytics", "Ultralytics", "training final"),
    Group("whisper", "openai-whisper", "openai-whisper", "openai"),
    Group("nemo", "nemo", "NeMo", "tar gzip"),
    Group("stable-baselines3", "stable-baselines3", "stable-baselines3", "ppo dqn replay-buffer:pickle"),
    Group("gguf", "gguf", "GGUF", "llama types big-endian split alignment adapter v2 v1"),
    Group("onnx", "onnx", "ONNX", "raw typed external external-each subgraph sparse resnet bert"),
    Group(
        "npy",
        "npy",
        "NumPy npy",
        "c-order fortran big-endian scalar empty version-2 structured object strings",
    ),
    Group("npz", "npz", "NumPy npz", "stored compressed bfloat16 mlx"),
    Group("joblib", "joblib", "pickle, joblib", "plain zlib xz"),
    Group("pickle", "pickle", "pickle, joblib", "sklearn forest"),
)

TENSORFLOW_GROUPS = (
    Group(
        "tensorflow",
        "tensorbundle",
        "TensorFlow checkpoint",
        "checkpoint index keras-checkpoint data-shards dtypes graph-names partitioned version-1:tf-v1 "
        "version-1-partitioned:tf-v1",
    ),
    Group("saved-model", "savedmodel", "SavedModel", "module keras"),
    Group("tflite", "tflite", "TFLite", "float half quantised"),
    Group("keras-h5", "keras-h5", "Keras .h5", "adam sgd convolutional"),
    Group("keras-weights", "keras-weights-h5", "Keras .weights.h5", "adam convolutional sharded"),
    Group("keras", "keras", "Keras .keras", "adam adamw convolutional nested"),
    Group("hdf5", "hdf5", "HDF5", "layouts"),
    Group("flax", "flax", "Flax msgpack", "variables dtypes chunked train-state"),
    Group("orbax", "orbax", "Orbax", "zarr zarr3 ocdbt ocdbt-zarr3 standard chunks manager manager-root"),
)

TORCH = {name: item for group in TORCH_GROUPS for name, item in group.items().items()}
TENSORFLOW = {name: item for group in TENSORFLOW_GROUPS for name, item in group.items().items()}

FAMILIES = {
    "bert": "BERT",
    "gpt2": "GPT-2",
    "llama": "Llama",
    "mixtral": "Mixtral",
    "t5": "T5",
    "resnet": "ResNet",
    "yolo": "YOLO",
    "stable-diffusion": "Stable Diffusion",
    "whisper": "Whisper",
    "wav2vec2": "wav2vec2",
    "stable-baselines3": "reinforcement learning",
}
"""Families in our words, and as the table calls them."""
