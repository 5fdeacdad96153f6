"""Checkpoints of TensorFlow, Keras and Flax, with inputs and what the libraries make of them, for torch to repeat.

`layouts_trees.py OUT` writes each source into `OUT/NAME/`, and its inputs and outputs into `OUT/NAME/expected.npz`.
Runs where these libraries are; the check in `layouts.py` runs where torch is.
"""

import sys
from pathlib import Path

import flax.linen as nn
import flax.serialization
import jax
import keras
import numpy as np
import tensorflow as tf

RANDOM = np.random.default_rng(7)


def noise(*shape: int) -> np.ndarray:
    """Numbers of which no two are alike."""
    return RANDOM.standard_normal(shape).astype(np.float32)


def layers(folder: Path) -> None:
    """Convolution, normalisation, depthwise convolution and a head of Keras, as archive and in the first format."""
    image = keras.Input((6, 6, 3))
    y = keras.layers.Conv2D(4, 3, name="stem")(image)
    y = keras.layers.BatchNormalization(name="norm")(y)
    y = keras.layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(y)
    y = keras.layers.GlobalAveragePooling2D()(y)
    model = keras.Model(image, keras.layers.Dense(5, name="head")(y))
    model.set_weights([np.abs(noise(*weight.shape)) for weight in model.weights])
    x = noise(2, 6, 6, 3)
    np.savez(folder / "expected.npz", x=x, y=model.predict(x, verbose=0))
    model.save(folder / "model.keras")
    model.save(folder / "model.h5")


class Block(nn.Module):
    """Convolution, statistics, attention with an axis of heads, and a head."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = nn.Conv(8, (3, 3), padding="VALID", name="conv")(x)
        y = nn.BatchNorm(use_running_average=True, name="norm")(y)
        y = y.reshape(y.shape[0], -1, 8)
        y = nn.MultiHeadDotProductAttention(num_heads=2, name="attention")(y)
        return nn.Dense(5, name="head")(nn.LayerNorm(name="ln")(y))


def tree(folder: Path) -> None:
    """Parameters and statistics of Flax."""
    x = noise(2, 5, 5, 3)
    variables = Block().init(jax.random.key(0), x)
    variables = jax.tree.map(lambda leaf: np.abs(noise(*leaf.shape)), variables)
    np.savez(folder / "expected.npz", x=x, y=np.asarray(Block().apply(variables, x)))
    (folder / "model.msgpack").write_bytes(flax.serialization.to_bytes(variables))


def bert(folder: Path) -> None:
    """BERT in the names of its first release, with state of its optimizer; expected under the names of transformers."""
    width, inner, words = 8, 12, 30
    expected: dict[str, np.ndarray] = {}
    google: dict[str, np.ndarray] = {}

    def put(theirs: str, ours: str, *shape: int, transpose: bool = False) -> None:
        value = noise(*shape)
        google[theirs] = value
        expected[ours] = np.ascontiguousarray(value.T) if transpose else value

    def dense(theirs: str, ours: str, into: int, out: int) -> None:
        put(f"{theirs}/kernel", f"{ours}.weight", into, out, transpose=True)
        put(f"{theirs}/bias", f"{ours}.bias", out)

    def norm(theirs: str, ours: str) -> None:
        put(f"{theirs}/LayerNorm/gamma", f"{ours}.LayerNorm.weight", width)
        put(f"{theirs}/LayerNorm/beta", f"{ours}.LayerNorm.bias", width)

    for name, rows in (("word", words), ("position", 16), ("token_type", 2)):
        put(f"bert/embeddings/{name}_embeddings", f"bert.embeddings.{name}_embeddings.weight", rows, width)
    norm("bert/embeddings", "bert.embeddings")
    for layer in range(2):
        theirs, ours = f"bert/encoder/layer_{layer}", f"bert.encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            dense(f"{theirs}/attention/self/{part}", f"{ours}.attention.self.{part}", width, width)
        dense(f"{theirs}/attention/output/dense", f"{ours}.attention.output.dense", width, width)
        norm(f"{theirs}/attention/output", f"{ours}.attention.output")
        dense(f"{theirs}/intermediate/dense", f"{ours}.intermediate.dense", width, inner)
        dense(f"{theirs}/output/dense", f"{ours}.output.dense", inner, width)
        norm(f"{theirs}/output", f"{ours}.output")
    dense("bert/pooler/dense", "bert.pooler.dense", width, width)
    dense("cls/predictions/transform/dense", "cls.predictions.transform.dense", width, width)
    norm("cls/predictions/transform", "cls.predictions.transform")
    put("cls/predictions/output_bias", "cls.predictions.bias", words)
    put("cls/seq_relationship/output_weights", "cls.seq_relationship.weight", 2, width)
    put("cls/seq_relationship/output_bias", "cls.seq_relationship.bias", 2)
    for slot in ("adam_m", "adam_v"):
        google[f"bert/pooler/dense/kernel/{slot}"] = noise(width, width)
    google["global_step"] = np.int64(20)
    names = sorted(google)
    values = [tf.constant(google[name]) for name in names]
    tf.raw_ops.SaveV2(
        prefix=str(folder / "bert_model.ckpt"), tensor_names=names, shape_and_slices=[""] * len(names), tensors=values
    )
    np.savez(folder / "expected.npz", **expected)


def main() -> None:
    """Writes all of them."""
    for name, write in (("keras", layers), ("flax", tree), ("tf-bert", bert)):
        folder = Path(sys.argv[1]) / name
        folder.mkdir(parents=True)
        write(folder)


if __name__ == "__main__":
    main()
