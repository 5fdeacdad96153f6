//! Names that pickles of checkpoints may have, and what each may be used for.
//!
//! Three lists: plain data, by its full name; classes of libraries, by module and by the shape of their names, whose
//! instances hold data; and functions that are only referred to. What is on none of them is not known.

use weighthouse_format::torch::is_data_name;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// A value or a function that builds data; understood in every use.
    Data,
    /// A class of a library; its instances hold data.
    Class,
    /// As that, in a library whose classes do more than hold data.
    Library(&'static str),
    /// A function of a library that may be referred to, and not called.
    Function,
    /// Makes functions from code.
    Code,
    /// Loads another pickle from its argument.
    Loader,
    /// Calls or makes what its first argument is.
    HigherOrder,
    /// Nothing that is known.
    Unknown,
}

/// What the name stands for.
pub(super) fn standing(module: &str, name: &str) -> Standing {
    if is_data(module, name) {
        return Standing::Data;
    }
    match (module, name) {
        ("torch.storage", "_load_from_bytes") => return Standing::Loader,
        ("functools", "partial") | ("builtins", "getattr") => return Standing::HigherOrder,
        _ => {}
    }
    if is_code(module, name) {
        return Standing::Code;
    }
    if FUNCTIONS.iter().any(|(of, known)| *of == module && fits(known, name)) {
        return Standing::Function;
    }
    if !is_class_name(name) && !LOWER_CASE.contains(&(module, name)) {
        return Standing::Unknown;
    }
    if CLASSES.iter().any(|(pattern, names)| is_module(pattern, module) && names_fit(names, name)) {
        return Standing::Class;
    }
    let library = LIBRARIES.iter().find(|(pattern, _)| is_module(pattern, module));
    library.map_or(Standing::Unknown, |(_, library)| Standing::Library(library))
}

/// Whether it is a class that may be an enum or a named type, by its looks.
fn is_class_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    // Some classes of libraries are private: `_Foo`.
    let first = name.trim_start_matches('_').as_bytes().first();
    first.is_some_and(u8::is_ascii_uppercase)
        && !name.starts_with("__")
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// `a.b.*` is everything below `a.b`, `a.*_b.c` has any word there.
fn is_module(pattern: &str, module: &str) -> bool {
    if !module.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._".contains(&byte)) {
        return false;
    }
    if let Some(prefix) = pattern.strip_suffix(".**") {
        return module.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    }
    let (mut parts, mut words) = (pattern.split('.'), module.split('.'));
    loop {
        match (parts.next(), words.next()) {
            (None, None) => return true,
            (Some(part), Some(word)) if fits(part, word) => {}
            _ => return false,
        }
    }
}

/// Whether a word fits a pattern with at most one `*`.
fn fits(pattern: &str, word: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == word,
        Some((begin, end)) => word.len() >= begin.len() + end.len() && word.starts_with(begin) && word.ends_with(end),
    }
}

fn names_fit(names: &[&str], name: &str) -> bool {
    names.is_empty() || names.iter().any(|pattern| fits(pattern, name))
}

/// Functions that are stored as values.
const FUNCTIONS: &[(&str, &str)] = &[
    ("transformers.optimization", "_get_*_lambda"),
    ("torch._C._nn", "gelu"),
    ("torch._C._nn", "silu"),
    ("torch._C._nn", "relu"),
    ("torch.nn.functional", "gelu"),
    ("torch.nn.functional", "relu"),
    ("torch.nn.functional", "silu"),
    ("torch.nn.functional", "tanh"),
    ("torch.nn.functional", "leaky_relu"),
    ("torch", "relu"),
    ("torch", "tanh"),
    ("torch", "sigmoid"),
    ("torch", "strided"),
    ("torch", "contiguous_format"),
    ("torch", "preserve_format"),
    ("torch", "channels_last"),
    ("torch", "sparse_coo"),
    ("torch._C", "_get_privateuse1_backend_name"),
    ("torchvision.ops.misc", "*"),
    ("typing", "Any"),
];

/// Classes whose names do not look like it.
const LOWER_CASE: &[(&str, &str)] = &[
    ("deepspeed.utils.tensor_fragment", "fragment_address"),
    ("scipy.sparse._csr", "csr_matrix"),
    ("scipy.sparse._csc", "csc_matrix"),
    ("scipy.sparse._coo", "coo_matrix"),
    ("scipy.sparse._csr", "csr_array"),
    ("scipy.sparse.csr", "csr_matrix"),
    ("scipy.sparse.csc", "csc_matrix"),
];

/// Modules whose classes hold data, and the names in them; no names are all names that look like classes.
const CLASSES: &[(&str, &[&str])] = &[
    // transformers, accelerate, trl, sentence-transformers, deepspeed
    ("transformers.training_args", &[]),
    ("transformers.training_args_seq2seq", &[]),
    (
        "transformers.trainer_utils",
        &[
            "IntervalStrategy",
            "SaveStrategy",
            "EvaluationStrategy",
            "SchedulerType",
            "HubStrategy",
            "FSDPOption",
            "ShardedDDPOption",
        ],
    ),
    ("transformers.trainer_pt_utils", &["AcceleratorConfig"]),
    ("transformers.debug_utils", &["DebugOption"]),
    ("transformers.integrations.deepspeed", &["HfTrainerDeepSpeedConfig", "HfDeepSpeedConfig"]),
    ("transformers.generation.configuration_utils", &[]),
    ("transformers.configuration_utils", &["PretrainedConfig", "PreTrainedConfig"]),
    ("transformers.models.*.modeling_*", &[]),
    ("transformers.models.*.configuration_*", &[]),
    ("transformers.activations", &[]),
    ("transformers.pytorch_utils", &[]),
    ("transformers.modeling_layers", &[]),
    ("transformers.utils.generic", &["ExplicitEnum", "PaddingStrategy", "TensorType"]),
    ("transformers.modeling_rope_utils", &[]),
    ("accelerate.state", &["PartialState", "AcceleratorState"]),
    ("accelerate.utils.dataclasses", &[]),
    ("accelerate.utils.deepspeed", &["HfDeepSpeedConfig"]),
    ("trl.trainer.*_config", &["*Config"]),
    ("trl.trainer.utils", &["*Config"]),
    ("sentence_transformers.training_args", &[]),
    ("sentence_transformers.*.training_args", &[]),
    ("deepspeed.runtime.**", &["*Config", "*Enum", "*Scaler", "fragment_address"]),
    ("deepspeed.utils.tensor_fragment", &["fragment_address"]),
    ("deepspeed.runtime.fp16.loss_scaler", &["LossScaler", "DynamicLossScaler"]),
    ("megatron.**", &["*Config", "*Enum", "ModelType", "AttnMaskType", "AttnBackend"]),
    ("torch.distributed.checkpoint.metadata", &[]),
    ("torch.distributed.checkpoint.filesystem", &["_StorageInfo"]),
    ("torch.distributed.fsdp.**", &["*Config", "*Strategy", "ShardedTensor"]),
    (
        "torch.distributed._shard.**",
        &["*Metadata", "*Spec", "TensorProperties", "MEM_FORMAT_ENCODING", "ShardedTensor", "Shard"],
    ),
    ("torch.distributed.tensor._dtensor_spec", &[]),
    ("torch.distributed._mesh_layout", &[]),
    // torch
    ("torch.optim.lr_scheduler", &[]),
    ("torch.optim.*", &[]),
    ("torch.nn.modules.*", &[]),
    ("torch.nn.parallel.*", &[]),
    ("torch.nn.utils.parametrizations", &[]),
    ("torch.nn.utils.parametrize", &["ParametrizationList", "Parametrized*"]),
    ("torch.nn.utils.weight_norm", &["WeightNorm"]),
    ("torch.ao.nn.**", &[]),
    ("torch.nn.quantized.**", &[]),
    ("torch.nn.intrinsic.**", &[]),
    ("torch.ao.quantization.observer", &[]),
    ("torch.ao.quantization.fake_quantize", &[]),
    ("torch.ao.quantization.qconfig", &[]),
    ("torch.quantization.*", &["*Observer", "QConfig", "FakeQuantize*"]),
    ("torch.amp.grad_scaler", &[]),
    ("torch.cuda.amp.grad_scaler", &[]),
    ("torch.distributions.*", &[]),
    ("torchvision.models.**", &[]),
    ("torchvision.ops.**", &[]),
    ("torchvision.transforms.functional", &["InterpolationMode"]),
    ("torchaudio.models.**", &[]),
    ("timm.layers.*", &[]),
    ("timm.models.**", &[]),
    ("peft.tuners.**", &[]),
    ("peft.utils.peft_types", &[]),
    // Lightning and OmegaConf
    ("lightning_fabric.utilities.data", &["AttributeDict"]),
    ("lightning.fabric.utilities.data", &["AttributeDict"]),
    ("pytorch_lightning.utilities.parsing", &["AttributeDict"]),
    ("lightning.pytorch.utilities.parsing", &["AttributeDict"]),
    ("pytorch_lightning.callbacks.*", &[]),
    ("omegaconf.dictconfig", &["DictConfig"]),
    ("omegaconf.listconfig", &["ListConfig"]),
    ("omegaconf.base", &["ContainerMetadata", "Metadata", "Node", "SCMode"]),
    ("omegaconf.nodes", &["*Node"]),
    ("typing", &["Any", "Dict", "List", "Tuple", "Union", "Optional", "Callable"]),
    // YOLO
    ("ultralytics.nn.tasks", &[]),
    ("ultralytics.nn.modules.*", &[]),
    ("ultralytics.nn.modules", &[]),
    ("ultralytics.utils", &["IterableSimpleNamespace"]),
    ("ultralytics.utils.loss", &[]),
    ("ultralytics.utils.tal", &[]),
    ("ultralytics.yolo.utils", &["IterableSimpleNamespace"]),
    ("models.yolo", &[]),
    ("models.common", &[]),
    ("models.experimental", &[]),
    // reinforcement learning
    ("gymnasium.spaces.*", &[]),
    ("gym.spaces.*", &[]),
    ("stable_baselines3.common.*", &[]),
    ("stable_baselines3.*.policies", &[]),
    ("stable_baselines3.her.*", &[]),
    ("sb3_contrib.**", &[]),
    // fairseq and others
    ("fairseq.data.dictionary", &["Dictionary"]),
    ("fairseq.dataclass.configs", &[]),
    ("fairseq.dataclass.constants", &[]),
    ("joblib.numpy_pickle", &["NumpyArrayWrapper", "NDArrayWrapper"]),
    ("enum", &["Enum", "IntEnum"]),
];

/// Libraries whose classes do more than hold data when they are used.
const LIBRARIES: &[(&str, &str)] = &[
    ("sklearn.**", "scikit-learn"),
    ("scipy.sparse.**", "SciPy"),
    ("scipy.stats.**", "SciPy"),
    ("scipy.interpolate.**", "SciPy"),
    ("xgboost.core", "XGBoost"),
    ("xgboost.sklearn", "XGBoost"),
    ("lightgbm.basic", "LightGBM"),
    ("lightgbm.sklearn", "LightGBM"),
    ("catboost.core", "CatBoost"),
    ("imblearn.**", "imbalanced-learn"),
    ("sentence_transformers.**", "sentence-transformers"),
    ("setfit.**", "SetFit"),
    ("torchmetrics.**", "TorchMetrics"),
    ("tokenizers", "tokenizers"),
];

/// What cloudpickle writes for functions and classes of a script.
fn is_code(module: &str, name: &str) -> bool {
    matches!(module, "cloudpickle.cloudpickle" | "cloudpickle.cloudpickle_fast")
        && matches!(
            name,
            "_make_function"
                | "_builtin_type"
                | "_function_setstate"
                | "_make_empty_cell"
                | "_make_cell"
                | "_empty_cell_value"
                | "_make_skeleton_class"
                | "_make_skeleton_enum"
                | "_make_skel_func"
                | "_class_setstate"
                | "_fill_function"
                | "_cell_set"
                | "subimport"
                | "CellType"
        )
}

/// Everything that `torch.load(weights_only=True)` accepts, and plain values of Python and NumPy: the list of the reader,
/// but for where a verdict must be narrower or the file may be newer.
fn is_data(module: &str, name: &str) -> bool {
    match (module, name) {
        ("torch", _) => is_torch(name),
        ("torch.cuda", _) => is_storage(name) && !name.starts_with('Q') || is_tensor_class(name),
        ("numpy.dtypes", _) => name.strip_suffix("DType").is_some_and(is_class_name),
        ("torch.storage", "_TypedStorage" | "_UntypedStorage")
        | ("torch.nn.parameter", "Buffer")
        | ("torch.distributed.tensor.placement_types", "_StridedShard")
        | ("numpy.random._pcg64", "PCG64DXSM")
        | ("numpy.random.bit_generator", "__pyx_unpickle_SeedSequence")
        | ("numpy.ma.core", "MaskedArray" | "_mareconstruct") => true,
        _ => is_data_name(module, name),
    }
}

fn is_torch(name: &str) -> bool {
    matches!(
        name,
        "Size"
            | "Tensor"
            | "device"
            | "per_tensor_affine"
            | "per_tensor_symmetric"
            | "per_channel_affine"
            | "per_channel_symmetric"
            | "per_channel_affine_float_qparams"
    ) || is_storage(name)
        || is_tensor_class(name)
        || is_dtype(name)
}

fn is_dtype(name: &str) -> bool {
    let digits = name.strip_prefix("uint").or_else(|| name.strip_prefix("int"));
    digits.is_some_and(|digits| matches!(digits, "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "16" | "32" | "64"))
        || matches!(
            name,
            "bool"
                | "float16"
                | "float32"
                | "float64"
                | "bfloat16"
                | "half"
                | "float"
                | "double"
                | "complex32"
                | "complex64"
                | "complex128"
                | "bcomplex32"
                | "float8_e4m3fn"
                | "float8_e4m3fnuz"
                | "float8_e5m2"
                | "float8_e5m2fnuz"
                | "float8_e8m0fnu"
                | "float4_e2m1fn_x2"
                | "bits8"
                | "bits16"
                | "bits1x8"
                | "bits2x4"
                | "bits4x2"
                | "qint8"
                | "qint32"
                | "quint8"
                | "quint2x4"
                | "quint4x2"
        )
}

/// Bytes of an element of a storage class; `None` for other names.
pub(super) fn storage_bytes(name: &str) -> Option<u64> {
    Some(match name.strip_suffix("Storage")? {
        "Bool" | "Byte" | "Char" | "QInt8" | "QUInt8" | "Untyped" => 1,
        // Several elements in a byte: how many bytes they take is not for the name to say.
        "QUInt2x4" | "QUInt4x2" => 0,
        "BFloat16" | "Half" | "Short" => 2,
        "Float" | "Int" | "QInt32" => 4,
        "Double" | "Long" | "ComplexFloat" => 8,
        "ComplexDouble" => 16,
        _ => return None,
    })
}

fn is_storage(name: &str) -> bool {
    name != "UntypedStorage" && storage_bytes(name).is_some()
}

fn is_tensor_class(name: &str) -> bool {
    matches!(
        name.strip_suffix("Tensor"),
        Some("BFloat16" | "Bool" | "Byte" | "Char" | "Double" | "Float" | "Half" | "Int" | "Long" | "Short")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_do_not_reach_into_other_packages() {
        assert!(is_module("timm.models.**", "timm.models.resnet"));
        assert!(!is_module("timm.models.**", "timm.modelsevil"));
        assert!(!is_module("timm.models.**", "timm"));
        assert!(is_module("transformers.models.*.modeling_*", "transformers.models.bert.modeling_bert"));
        assert!(!is_module("transformers.models.*.modeling_*", "transformers.models.bert.tokenization_bert"));
        assert!(!is_module("transformers.models.*.modeling_*", "transformers.models.a.b.modeling_c"));
        assert!(!is_module("timm.models.**", "timm.models.a/b"));
    }

    #[test]
    fn classes_are_told_by_the_shape_of_their_names() {
        for name in ["Linear", "_BatchNorm", "BertModel", "T5"] {
            assert_eq!(standing("torch.nn.modules.linear", name), Standing::Class, "{name}");
        }
        for name in ["load", "__Class", "Linear.forward", "", "_", "Line ar", "_load"] {
            assert_eq!(standing("torch.nn.modules.linear", name), Standing::Unknown, "{name}");
        }
    }

    #[test]
    fn names_are_on_the_lists_that_the_reference_has() {
        for (module, name, expected) in [
            ("torch", "FloatStorage", Standing::Data),
            ("torch", "float8_e8m0fnu", Standing::Data),
            ("torch", "load", Standing::Unknown),
            ("torch.cuda", "QInt8Storage", Standing::Unknown),
            ("numpy.dtypes", "Float32DType", Standing::Data),
            ("numpy.dtypes", "evilDType", Standing::Unknown),
            ("builtins", "eval", Standing::Unknown),
            ("builtins", "getattr", Standing::HigherOrder),
            ("sklearn.svm._classes", "SVC", Standing::Library("scikit-learn")),
            ("sklearn.utils.fixes", "parse_version", Standing::Unknown),
            ("transformers.optimization", "_get_linear_schedule_with_warmup_lr_lambda", Standing::Function),
            ("transformers.optimization", "_get_x", Standing::Unknown),
            ("cloudpickle.cloudpickle", "_make_function", Standing::Code),
            ("cloudpickle.cloudpickle", "loads", Standing::Unknown),
            ("__main__", "Net", Standing::Unknown),
        ] {
            assert_eq!(standing(module, name), expected, "{module}.{name}");
        }
    }
}
