//! What a conversion is asked for.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use weighthouse_format::Dtype;
use weighthouse_format::gguf::FileType;

use crate::Error;

/// What a conversion is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Options {
    /// Format to write.
    pub to: Form,
    /// Naming of the tensors to change to, such as `hf`, `timm`, `diffusers`; `None` keeps the names, but for what the
    /// format demands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub naming: Option<String>,
    /// Element type of floating-point weights; `None` keeps each tensor's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dtype: Option<WeightType>,
    /// Longest file of weights in bytes; `None` is one file, for folders 50 GB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_shard_bytes: Option<u64>,
    /// Which parts of the checkpoint to write.
    pub parts: Parts,
    /// Ranks that a distributed checkpoint is written for.
    pub ranks: u32,
    /// Name of the pre-tokenizer that a GGUF file states, where it cannot be told from the tokenizer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pre_tokenizer: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            to: Form::Folder,
            naming: None,
            dtype: None,
            max_shard_bytes: None,
            parts: Parts::default(),
            ranks: 1,
            pre_tokenizer: None,
        }
    }
}

/// Parts of a checkpoint that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parts {
    /// Weights, and the files that say what the model is.
    pub model: bool,
    /// State of the optimizer.
    pub optimizer: bool,
}

impl Default for Parts {
    fn default() -> Self {
        Self { model: true, optimizer: false }
    }
}

impl FromStr for Parts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = Self { model: false, optimizer: false };
        for word in text.split(',') {
            match word.trim() {
                "model" | "weights" => parts.model = true,
                "optimizer" => parts.optimizer = true,
                other => return Err(format!("`{other}` is no part; there are `model` and `optimizer`")),
            }
        }
        Ok(parts)
    }
}

/// Formats that can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Form {
    /// One safetensors file.
    Safetensors,
    /// A GGUF file.
    Gguf,
    /// A torch zip that `torch.load(weights_only=True)` reads.
    Torch,
    /// An npz archive of NumPy arrays.
    Npz,
    /// One NumPy array.
    Npy,
    /// A folder that `torch.distributed.checkpoint.load` reads.
    Dcp,
    /// A model folder: safetensors in shards, configuration, tokenizer; what is in it depends on the naming (Hugging
    /// Face, PEFT, diffusers, MLX, timm).
    Folder,
}

impl Form {
    /// Every format, in the order of the help.
    pub const ALL: &[Self] =
        &[Self::Safetensors, Self::Gguf, Self::Torch, Self::Npz, Self::Npy, Self::Dcp, Self::Folder];

    /// Spelling on the command line and in records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::Gguf => "gguf",
            Self::Torch => "torch",
            Self::Npz => "npz",
            Self::Npy => "npy",
            Self::Dcp => "dcp",
            Self::Folder => "folder",
        }
    }

    /// The format that the name of a destination asks for; a name without an ending that is known asks for a folder.
    #[must_use]
    pub fn of_path(path: &Path) -> Self {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
        match ending.as_str() {
            "safetensors" => Self::Safetensors,
            "gguf" => Self::Gguf,
            "pt" | "pth" | "bin" | "ckpt" => Self::Torch,
            "npz" => Self::Npz,
            "npy" => Self::Npy,
            _ => Self::Folder,
        }
    }

    /// Whether it is written as a folder.
    #[must_use]
    pub const fn is_folder(self) -> bool {
        matches!(self, Self::Dcp | Self::Folder)
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Form {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = text.to_ascii_lowercase();
        Self::ALL.iter().copied().find(|form| form.as_str() == wanted).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|form| form.as_str()).collect();
            format!("`{text}` cannot be written; there are {}", known.join(", "))
        })
    }
}

/// The type that weights are written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WeightType {
    /// One type for all; in GGUF, where that fits a tensor.
    Dtype(Dtype),
    /// One of the mixtures of llama.cpp, such as `Q4_K_M`.
    Mixture(FileType),
}

impl WeightType {
    /// The spelling in our output.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dtype(dtype) => dtype.as_str(),
            Self::Mixture(mixture) => mixture.as_str(),
        }
    }

    /// What a GGUF file of this type is, if there can be one.
    #[must_use]
    pub fn file_type(self) -> Option<FileType> {
        FileType::parse(self.as_str())
    }

    /// Whether only GGUF has it.
    #[must_use]
    pub fn is_quantised(self) -> bool {
        match self {
            Self::Dtype(dtype) => dtype.is_quantised(),
            Self::Mixture(_) => true,
        }
    }
}

impl FromStr for WeightType {
    type Err = String;

    /// Reads a type in any case: `bf16`, `q8_0`, `float16`.
    fn from_str(text: &str) -> Result<Self, String> {
        let upper = text.to_ascii_uppercase();
        let ours = match upper.as_str() {
            "FLOAT64" | "DOUBLE" => "F64",
            "FLOAT32" | "FLOAT" => "F32",
            "FLOAT16" | "HALF" => "F16",
            "BFLOAT16" => "BF16",
            "FLOAT8_E4M3FN" | "F8_E4M3FN" => "F8_E4M3",
            "FLOAT8_E5M2" => "F8_E5M2",
            other => other,
        };
        if let Some(dtype) = Dtype::parse(ours).filter(|dtype| dtype.is_quantised() || is_floating(*dtype)) {
            return Ok(Self::Dtype(dtype));
        }
        let mixture = FileType::parse(ours).map(Self::Mixture);
        mixture.ok_or_else(|| {
            format!("`{text}` is no type of weights; there are f32, f16, bf16, f64, f8_e4m3, f8_e5m2, and for GGUF q8_0, q4_0, q5_0, q4_k, q5_k, q6_k, q4_k_m, q5_k_m")
        })
    }
}

impl Serialize for WeightType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for WeightType {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Whether a type holds floating-point numbers, one to an element.
pub(super) const fn is_floating(dtype: Dtype) -> bool {
    matches!(
        dtype,
        Dtype::F64
            | Dtype::F32
            | Dtype::F16
            | Dtype::BF16
            | Dtype::F8E4M3
            | Dtype::F8E5M2
            | Dtype::F8E4M3Fnuz
            | Dtype::F8E5M2Fnuz
            | Dtype::F8E4M3B11Fnuz
    )
}

impl Options {
    /// Refuses what contradicts itself.
    ///
    /// # Errors
    /// A sentence that says what is possible instead.
    pub(super) fn check(&self) -> Result<(), Error> {
        let refuse = |text: String| Err(Error::Unsupported(text));
        let parts = self.parts;
        if !parts.model && !parts.optimizer {
            return refuse("nothing would be written: name at least one part, `model` or `optimizer`".to_owned());
        }
        if parts.optimizer && matches!(self.to, Form::Gguf | Form::Npy) {
            let to = self.to;
            return refuse(format!("{to} holds no optimizer; write torch, dcp, safetensors, npz or a folder"));
        }
        if let Some(dtype) = self.dtype.filter(|dtype| dtype.is_quantised())
            && self.to != Form::Gguf
        {
            let dtype = dtype.as_str();
            return refuse(format!("{dtype} is a type of GGUF; give the destination a name that ends in `.gguf`"));
        }
        if self.max_shard_bytes.is_some() && !matches!(self.to, Form::Folder | Form::Gguf) {
            return refuse(format!("{} is written as one file; shards need a folder as destination", self.to));
        }
        if self.max_shard_bytes.is_some_and(|bytes| bytes < 1 << 10) {
            return refuse("shards of less than 1 KiB hold no tensor".to_owned());
        }
        if self.ranks == 0 || self.ranks > 65_536 {
            return refuse(format!("{} ranks cannot be; 1 to 65,536 can", self.ranks));
        }
        Ok(())
    }
}
