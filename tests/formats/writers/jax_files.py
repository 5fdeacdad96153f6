"""Flax's msgpack and Orbax's folders.

Names are the path in the tree, joined with dots: `params.Dense_0.kernel`. Lists and tuples have numbers for keys. Of
a training state, `params` and `batch_stats` are the model, `opt_state` is the optimizer: optax' Adam keeps trees `mu`
and `nu` of the shape of `params`, so that they are `params.Dense_0.kernel.mu`; its `count` is the step.
"""

from pathlib import Path
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from flax import serialization
from flax.training.train_state import TrainState

from numpy_oracle import array
from oracle import Optimizer, Oracle, Tensors, writes


class Net(nn.Module):
    """A convolution, running statistics, and two dense layers."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = True) -> jax.Array:
        x = nn.Conv(4, (3, 3), name="stem")(x)
        x = nn.BatchNorm(use_running_average=not train)(x)
        x = nn.relu(x).mean((1, 2))
        return nn.Dense(3)(nn.relu(nn.Dense(8)(x)))


def variables() -> Any:
    """Parameters and statistics, none alike."""
    made = Net().init(jax.random.key(7), jnp.ones((1, 8, 8, 3)))
    leaves, shape = jax.tree.flatten(made)
    random = np.random.default_rng(7)
    return jax.tree.unflatten(shape, [jnp.asarray(random.normal(0, 0.1, leaf.shape), leaf.dtype) for leaf in leaves])


def flat(tree: Any, prefix: str = "") -> Tensors:
    """Arrays of a tree by their path."""
    if isinstance(tree, dict | list | tuple):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        found: Tensors = {}
        for key, value in items:
            found |= flat(value, f"{prefix}.{key}" if prefix else str(key))
        return found
    return {prefix: array(np.asarray(tree))} if isinstance(tree, jax.Array | np.ndarray | np.generic) else {}


def trained() -> TrainState:
    """Two steps of AdamW over the parameters."""
    params = variables()["params"]
    state = TrainState.create(apply_fn=Net().apply, params=params, tx=optax.adamw(0.1))
    for _ in range(2):
        state = state.apply_gradients(grads=jax.tree.map(jnp.sin, state.params))
    return state


def moments(adam: dict[str, Any]) -> Optimizer:
    """optax' Adam: two trees of the shape of the parameters."""
    found = {f"params.{name}.{slot}": value for slot in ("mu", "nu") for name, value in flat(adam[slot]).items()}
    return Optimizer("adam", int(adam["count"]), found)


def msgpack(folder: Path, tree: Any, **facts: Any) -> Oracle:
    """Writes Flax's msgpack, and describes what it restores."""
    (folder / "model.msgpack").write_bytes(serialization.msgpack_serialize(tree))
    restored = serialization.msgpack_restore((folder / "model.msgpack").read_bytes())
    return Oracle("model.msgpack", flat(restored), **facts)


@writes("flax/variables")
def _(folder: Path) -> Oracle:
    return msgpack(folder, jax.tree.map(np.asarray, serialization.to_state_dict(variables())))


@writes("flax/dtypes")
def _(folder: Path) -> Oracle:
    numbers = np.arange(24, dtype=np.float32).reshape(4, 6)
    kinds = (
        "bool uint8 int8 uint16 int16 uint32 int32 uint64 int64 float16 bfloat16 float32 float64 complex64 complex128 "
        "float8_e4m3fn float8_e5m2"
    )
    tree: dict[str, Any] = {kind: numbers.astype(jnp.dtype(kind)) for kind in kinds.split()}
    tree |= {"scalar": np.float32(2.5), "zero_dim": np.array(7), "empty": np.zeros((0, 3), np.float16), "python": 3}
    tree |= {"nested": {"list": {"0": numbers[0], "1": numbers[1]}}, "complex": 1 + 2j, "none": None, "text": "größe"}
    return msgpack(folder, tree)


@writes("flax/chunked")
def _(folder: Path) -> Oracle:
    limit, serialization.MAX_CHUNK_SIZE = serialization.MAX_CHUNK_SIZE, 1000
    try:
        return msgpack(folder, {"large": np.arange(2000, dtype=np.float32).reshape(40, 50), "small": np.arange(3)})
    finally:
        serialization.MAX_CHUNK_SIZE = limit


@writes("flax/train-state")
def _(folder: Path) -> Oracle:
    (folder / "model.msgpack").write_bytes(serialization.to_bytes(trained()))
    restored = serialization.msgpack_restore((folder / "model.msgpack").read_bytes())
    adam = restored["opt_state"]["0"]
    return Oracle("model.msgpack", flat({"params": restored["params"]}), optimizer=moments(adam), optional=["step"])


def tree() -> dict[str, Any]:
    """A training state as a tree that every handler of Orbax takes."""
    state = trained()
    return {
        "params": state.params,
        "opt_state": state.opt_state,
        "extra": [jnp.arange(6, dtype=jnp.bfloat16).reshape(2, 3), (jnp.ones(2), jnp.int32(5))],
    }


def described(restored: Any) -> Oracle:
    """The tree as Orbax restores it."""
    adam = restored.pop("opt_state")[0]
    return Oracle("model", flat(restored), optimizer=moments(adam))


def pytree(folder: Path, **options: bool) -> Oracle:
    """The handler of trees, which chooses the layout of the bytes."""
    target = (folder / "model").absolute()
    checkpointer = ocp.Checkpointer(ocp.PyTreeCheckpointHandler(**options))
    checkpointer.save(target, tree(), force=True)
    return described(checkpointer.restore(target))


@writes("orbax/zarr")
def _(folder: Path) -> Oracle:
    return pytree(folder, use_ocdbt=False, use_zarr3=False)


@writes("orbax/zarr3")
def _(folder: Path) -> Oracle:
    return pytree(folder, use_ocdbt=False, use_zarr3=True)


@writes("orbax/ocdbt")
def _(folder: Path) -> Oracle:
    return pytree(folder, use_ocdbt=True, use_zarr3=False)


@writes("orbax/ocdbt-zarr3")
def _(folder: Path) -> Oracle:
    return pytree(folder, use_ocdbt=True, use_zarr3=True)


@writes("orbax/standard")
def _(folder: Path) -> Oracle:
    target = (folder / "model").absolute()
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(target, tree(), force=True)
        checkpointer.wait_until_finished()
        return described(checkpointer.restore(target))


@writes("orbax/chunks")
def _(folder: Path) -> Oracle:
    # Arrays in several chunks, the last ones cut off by the edge.
    target = (folder / "model").absolute()
    values = {"large": jnp.arange(2100, dtype=jnp.float32).reshape(42, 50), "row": jnp.arange(7)}
    arguments = jax.tree.map(lambda value: ocp.SaveArgs(chunk_byte_size=600), values)
    checkpointer = ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=False))
    checkpointer.save(target, values, save_args=arguments, force=True)
    return Oracle("model", flat(checkpointer.restore(target)))


@writes("orbax/manager")
def _(folder: Path) -> Oracle:
    target = (folder / "model").absolute()
    with ocp.CheckpointManager(target, options=ocp.CheckpointManagerOptions(max_to_keep=2)) as manager:
        for step in (1, 2, 3):
            manager.save(
                step, args=ocp.args.Composite(state=ocp.args.StandardSave(tree()), meta=ocp.args.JsonSave({"a": step}))
            )
        manager.wait_until_finished()
        newest = manager.latest_step()
        restored = manager.restore(newest, args=ocp.args.Composite(state=ocp.args.StandardRestore()))
    oracle = described(restored.state)
    oracle.target = f"model/{newest}"
    return oracle


@writes("orbax/manager-root")
def _(folder: Path) -> Oracle:
    # The newest step is the checkpoint.
    target = (folder / "model").absolute()
    with ocp.CheckpointManager(target) as manager:
        for step in (4, 10):
            values = {"weight": jnp.full((3,), float(step))}
            manager.save(step, args=ocp.args.StandardSave(values))
        manager.wait_until_finished()
        restored = manager.restore(10, args=ocp.args.StandardRestore())
    return Oracle("model", flat(restored), metadata={"step": 10})


assert flax.__version__
