//! Keras checkpoints: `.h5`, `.weights.h5`, `.keras`.
