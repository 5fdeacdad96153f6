//! TensorFlow checkpoints: TensorBundle, SavedModel, the first saver.
