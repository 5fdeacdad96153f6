//! Flax msgpack checkpoints.
