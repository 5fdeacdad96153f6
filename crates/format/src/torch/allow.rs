//! Names that `torch.load(weights_only=True)` accepts, and plain values of the standard library and NumPy.
//!
//! What is not here is code that someone should look at; being here never means that we would call it.

use crate::pickle::Global;

/// Whether the name only builds data.
pub(super) fn is_data(global: &Global) -> bool {
    // Setting state on a class changes it for everyone.
    global.altered.count == 0 && is_data_name(&global.module, &global.name)
}

/// Whether the name is on the list.
pub fn is_data_name(module: &str, name: &str) -> bool {
    match module {
        "torch" => is_torch(name),
        "torch.cuda" => is_storage(name) || is_tensor_class(name),
        "torch.sparse" | "torch.cuda.sparse" => is_tensor_class(name) && name != "BoolTensor",
        "torch.storage" => matches!(name, "TypedStorage" | "UntypedStorage"),
        "torch.nn.parameter" => name == "Parameter",
        "torch.serialization" => name == "_get_layout",
        "torch._tensor" => name == "_rebuild_from_type_v2",
        "torch._utils" => matches!(
            name,
            "_rebuild_tensor"
                | "_rebuild_tensor_v2"
                | "_rebuild_tensor_v3"
                | "_rebuild_parameter"
                | "_rebuild_parameter_with_state"
                | "_rebuild_qtensor"
                | "_rebuild_sparse_tensor"
                | "_rebuild_meta_tensor_no_storage"
                | "_rebuild_wrapper_subclass"
                | "_rebuild_device_tensor_from_numpy"
                | "_rebuild_device_tensor_from_cpu_tensor"
        ),
        "torch.distributed.device_mesh" => name == "DeviceMesh",
        "torch.distributed.tensor" => name == "DTensor",
        "torch.distributed.tensor._dtensor_spec" => matches!(name, "DTensorSpec" | "TensorMeta"),
        "torch.distributed.tensor.placement_types" => matches!(name, "Shard" | "Replicate" | "Partial"),
        "collections" => matches!(name, "OrderedDict" | "Counter" | "defaultdict" | "deque"),
        "_codecs" => name == "encode",
        "builtins" => matches!(
            name,
            "set"
                | "bytearray"
                | "complex"
                | "list"
                | "dict"
                | "tuple"
                | "frozenset"
                | "int"
                | "float"
                | "bool"
                | "str"
                | "bytes"
                | "object"
                | "slice"
                | "range"
                | "NoneType"
        ),
        "datetime" => matches!(name, "datetime" | "date" | "time" | "timedelta" | "timezone"),
        "decimal" => name == "Decimal",
        "fractions" => name == "Fraction",
        "uuid" => matches!(name, "UUID" | "SafeUUID"),
        "pathlib" | "pathlib._local" => {
            matches!(name, "PosixPath" | "WindowsPath" | "PurePosixPath" | "PureWindowsPath" | "Path")
        }
        "argparse" => name == "Namespace",
        "types" => name == "SimpleNamespace",
        "copyreg" => name == "_reconstructor",
        _ => module.starts_with("numpy") && is_numpy(module, name),
    }
}

fn is_torch(name: &str) -> bool {
    matches!(
        name,
        "Size"
            | "Tensor"
            | "device"
            | "bool"
            | "per_tensor_affine"
            | "per_tensor_symmetric"
            | "per_channel_affine"
            | "per_channel_symmetric"
            | "per_channel_affine_float_qparams"
            | "bcomplex32"
            | "bits1x8"
    ) || is_storage(name)
        || is_tensor_class(name)
        || is_small_integer(name)
        || super::dtype::by_name(name).is_some()
}

/// `int1` to `int7` and `uint1` to `uint7`.
fn is_small_integer(name: &str) -> bool {
    let digits = name.strip_prefix("uint").or_else(|| name.strip_prefix("int"));
    digits.is_some_and(|digits| matches!(digits.as_bytes(), [b'1'..=b'7']))
}

fn is_storage(name: &str) -> bool {
    name != "UntypedStorage" && super::dtype::by_storage(name).is_some()
}

fn is_tensor_class(name: &str) -> bool {
    matches!(
        name.strip_suffix("Tensor"),
        Some("BFloat16" | "Bool" | "Byte" | "Char" | "Double" | "Float" | "Half" | "Int" | "Long" | "Short")
    )
}

fn is_numpy(module: &str, name: &str) -> bool {
    match module {
        "numpy" => matches!(
            name,
            "dtype"
                | "ndarray"
                | "float16"
                | "float32"
                | "float64"
                | "int8"
                | "int16"
                | "int32"
                | "int64"
                | "uint8"
                | "uint16"
                | "uint32"
                | "uint64"
                | "bool_"
                | "str_"
                | "bytes_"
        ),
        "numpy.core.multiarray" | "numpy._core.multiarray" => matches!(name, "_reconstruct" | "scalar"),
        "numpy.core.numeric" | "numpy._core.numeric" => name == "_frombuffer",
        "numpy.dtypes" => name.ends_with("DType"),
        "numpy.random._pickle" => {
            matches!(name, "__randomstate_ctor" | "__generator_ctor" | "__bit_generator_ctor")
        }
        "numpy.random._mt19937" => name == "MT19937",
        "numpy.random._pcg64" => name == "PCG64",
        "numpy.random._philox" => name == "Philox",
        "numpy.random._sfc64" => name == "SFC64",
        "numpy.random.bit_generator" => name == "SeedSequence",
        _ => false,
    }
}
