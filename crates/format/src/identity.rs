//! Names of everything that a file or a folder can be.

use std::fmt;

/// Defines the enum and its spellings from one list.
macro_rules! formats {
    ($($(#[$doc:meta])* $variant:ident $text:literal;)*) => {
        /// What a file or a folder is: a byte format, or a layout of several files.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Format {
            $($(#[$doc])* $variant,)*
        }

        impl Format {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The spelling in our output.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

formats! {
    /// Safetensors.
    Safetensors "safetensors";
    /// Zip of `torch.save` since 1.6.
    TorchZip "torch";
    /// Five pickles and raw storages: `torch.save` before 1.6.
    TorchLegacy "torch-legacy";
    /// Tar of `torch.save` before 0.1.10.
    TorchTar "torch-tar";
    /// Archive of `torch.jit.save`.
    TorchScript "torchscript";
    /// Archive of `torch.export.save`.
    Pt2 "pt2";
    /// A pickle with nothing around it.
    Pickle "pickle";
    /// Folder of PyTorch's distributed checkpoints.
    Dcp "dcp";
    /// Folder of DeepSpeed ZeRO, any stage, or universal.
    DeepSpeed "deepspeed";
    /// Folder of Megatron-LM.
    Megatron "megatron";
    /// One torch file for each rank, with DTensors inside.
    FsdpRanks "fsdp-ranks";
    /// GGUF.
    Gguf "gguf";
    /// What came before GGUF: ggml, ggmf, ggjt, ggla.
    Ggml "ggml";
    /// ONNX model.
    Onnx "onnx";
    /// Index and data of TensorFlow's variables.
    TensorBundle "tensorbundle";
    /// Folder or graph of a TensorFlow SavedModel.
    SavedModel "savedmodel";
    /// Single-file checkpoint of TensorFlow's first saver.
    TfV1 "tf-v1";
    /// TensorFlow Lite model.
    Tflite "tflite";
    /// HDF5 file of something else than Keras.
    Hdf5 "hdf5";
    /// Keras model in HDF5, configuration included.
    KerasH5 "keras-h5";
    /// Keras 3 weights in HDF5.
    KerasWeights "keras-weights-h5";
    /// Keras 3 archive.
    Keras "keras";
    /// Flax msgpack.
    Flax "flax";
    /// Folder of Orbax.
    Orbax "orbax";
    /// Zarr array or group, version 2 or 3.
    Zarr "zarr";
    /// OCDBT database.
    Ocdbt "ocdbt";
    /// NumPy array.
    Npy "npy";
    /// Zip of NumPy arrays.
    Npz "npz";
    /// Zip of stable-baselines3.
    StableBaselines3 "stable-baselines3";
    /// NeMo archive.
    Nemo "nemo";
    /// Pickle of joblib, plain or compressed.
    Joblib "joblib";
    /// Core ML model.
    CoreMl "coreml";
    /// Core ML package.
    MlPackage "mlpackage";
    /// OpenVINO model.
    OpenVino "openvino";
    /// PaddlePaddle parameters.
    Paddle "paddle";
    /// ExecuTorch program.
    ExecuTorch "executorch";
    /// LiteRT-LM bundle.
    LiteRtLm "litertlm";
    /// XGBoost model.
    XgBoost "xgboost";
    /// LightGBM model.
    LightGbm "lightgbm";
    /// MediaPipe task bundle.
    MediaPipe "mediapipe";
    /// Zip of something else.
    Zip "zip";
    /// Tar of something else.
    Tar "tar";
    /// Gzip stream.
    Gzip "gzip";
    /// Folder that transformers loads.
    HfModel "hf-model";
    /// `checkpoint-N` folder of the transformers Trainer.
    HfTrainer "hf-trainer";
    /// Folder of `Accelerator.save_state`.
    Accelerate "accelerate";
    /// Checkpoint of Lightning.
    Lightning "lightning";
    /// Adapter of PEFT.
    Peft "peft";
    /// Pipeline folder of diffusers.
    Diffusers "diffusers";
    /// Stable Diffusion in one file, in the names of its first authors.
    StableDiffusion "stable-diffusion";
    /// Checkpoint of openai-whisper.
    OpenAiWhisper "openai-whisper";
    /// Checkpoint of Ultralytics.
    Ultralytics "ultralytics";
    /// Folder or file of timm.
    Timm "timm";
    /// Weights in the layout of MLX.
    Mlx "mlx";
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
