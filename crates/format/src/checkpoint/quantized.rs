//! Quantised weights that libraries pack into tensors of plain types: how many parameters the words stand for.
//!
//! | library | packed | beside it |
//! |---|---|---|
//! | GPTQ, AWQ | `X.qweight`, I32 | `X.scales`, `X.qzeros`, `X.g_idx` |
//! | MLX | `X.weight`, U32 | `X.scales`, `X.biases` |
//! | bitsandbytes, 4 bits | `X.weight`, U8 | `X.weight.absmax`, `X.weight.quant_map`, `X.weight.quant_state.*` |
//! | bitsandbytes, 8 bits | `X.weight`, I8 | `X.SCB`, `X.weight_format` |
//! | compressed-tensors | `X.weight_packed`, I32 or U8 | `X.weight_scale`, `X.weight_shape`, … |
//! | gpt-oss (MXFP4) | `X_blocks`, U8 | `X_scales` |
//!
//! What lies beside the packed words helps to read them, and is no parameter. How many bits an element has is in the
//! configuration; of GPTQ and AWQ the shapes tell it as well.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::contents::Contents;
use crate::dtype::Dtype;
use crate::tensor::Tensor;

/// What a tensor is to the count of parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Packed words that stand for so many parameters.
    Packed(u64),
    /// It helps to read the packed words of another tensor.
    Aid,
}

/// Ends of names that lie beside packed words, after the name of the module or of the tensor.
const BESIDE: &[&str] = &[
    ".scales",
    ".qzeros",
    ".g_idx",
    ".biases",
    ".SCB",
    ".weight_format",
    ".weight.absmax",
    ".weight.quant_map",
    ".weight.nested_absmax",
    ".weight.nested_quant_map",
    ".weight_scale",
    ".weight_scale_inv",
    ".weight_global_scale",
    ".weight_zero_point",
    ".weight_g_idx",
    ".weight_shape",
    ".input_scale",
    ".input_global_scale",
    "_scales",
];

/// The quantised tensors of a checkpoint.
pub(super) struct Packing<'a> {
    tensors: HashMap<&'a str, &'a Tensor>,
    config: Option<&'a Map<String, Value>>,
}

impl<'a> Packing<'a> {
    /// Looks for packed tensors; `None` when no name speaks of them.
    pub fn of(contents: &'a Contents) -> Option<Self> {
        let speaks = |tensor: &Tensor| {
            let name = tensor.name.as_str();
            BESIDE.iter().any(|end| name.ends_with(end)) || name.contains(".quant_state.")
        };
        if !contents.tensors.iter().any(speaks) {
            return None;
        }
        let tensors = contents.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
        Some(Self { tensors, config: contents.metadata.get("quantization").and_then(Value::as_object) })
    }

    /// The part that a tensor has in the quantisation; `None` for a tensor like any other.
    pub fn role(&self, tensor: &Tensor) -> Option<Role> {
        if let Some((_, bits)) = self.packed(tensor) {
            let stored = tensor.dtype.block_bytes().checked_mul(8)?;
            return Some(Role::Packed(tensor.elements().checked_mul(stored)?.checked_div(bits)?));
        }
        let name = tensor.name.as_str();
        let module = match name.rsplit_once(".weight.quant_state.") {
            Some((module, _)) => module,
            None => BESIDE.iter().find_map(|end| name.strip_suffix(end))?,
        };
        let ends = [".qweight", ".weight", ".weight_packed", "_blocks"];
        let others = ends.iter().filter_map(|end| self.tensors.get(format!("{module}{end}").as_str()));
        others.copied().any(|other| self.is_quantised(other)).then_some(Role::Aid)
    }

    fn is_quantised(&self, tensor: &Tensor) -> bool {
        let narrow = matches!(tensor.dtype, Dtype::I8 | Dtype::F8E4M3 | Dtype::F8E5M2);
        narrow || self.packed(tensor).is_some()
    }

    /// The module of packed words, and the bits of one parameter.
    fn packed(&self, tensor: &'a Tensor) -> Option<(&'a str, u64)> {
        let name = tensor.name.as_str();
        let words = matches!(tensor.dtype, Dtype::I32 | Dtype::U32 | Dtype::I16 | Dtype::U8);
        if !words {
            return None;
        }
        let beside = |module: &str, end: &str| self.tensors.get(format!("{module}{end}").as_str()).copied();
        let (module, bits) = if let Some(module) = name.strip_suffix(".qweight") {
            let scales = beside(module, ".scales")?;
            (module, self.bits(module).or_else(|| by_shapes(tensor, scales, beside(module, ".g_idx")))?)
        } else if let Some(module) = name.strip_suffix(".weight_packed") {
            beside(module, ".weight_scale")?;
            (module, self.bits(module)?)
        } else if let Some(module) = name.strip_suffix("_blocks") {
            beside(module, "_scales").filter(|scales| scales.dtype == Dtype::U8)?;
            (module, 4)
        } else if let Some(module) = name.strip_suffix(".weight") {
            match tensor.dtype {
                Dtype::U32 if beside(module, ".scales").is_some() => (module, self.bits(module)?),
                Dtype::U8 if beside(module, ".weight.absmax").is_some() => (module, 4),
                _ => return None,
            }
        } else {
            return None;
        };
        (1..=32).contains(&bits).then_some((module, bits))
    }

    /// Bits of one parameter, as the configuration has them.
    fn bits(&self, module: &str) -> Option<u64> {
        let config = self.config?;
        let number = |map: &Map<String, Value>| {
            ["bits", "w_bit", "num_bits"].iter().find_map(|key| map.get(*key).and_then(Value::as_u64))
        };
        // MLX: a module may have bits of its own, under its name.
        if let Some(bits) = config.get(module).and_then(Value::as_object).and_then(number) {
            return Some(bits);
        }
        if let Some(bits) = number(config) {
            return Some(bits);
        }
        if config.get("load_in_4bit").and_then(Value::as_bool) == Some(true) {
            return Some(4);
        }
        // compressed-tensors: groups of modules; told only when all agree.
        let groups = config.get("config_groups").and_then(Value::as_object)?;
        let mut bits = groups.values().filter_map(|group| number(group.get("weights")?.as_object()?));
        let first = bits.next()?;
        bits.all(|bits| bits == first).then_some(first)
    }
}

/// Bits by the shapes: AWQ packs along the last axis, which the scales have unpacked; GPTQ along the first, whose length
/// `g_idx` has.
fn by_shapes(packed: &Tensor, scales: &Tensor, g_idx: Option<&Tensor>) -> Option<u64> {
    let (&[rows, columns], &[groups, outputs]) = (packed.shape.as_slice(), scales.shape.as_slice()) else {
        return None;
    };
    let word = packed.dtype.block_bytes() * 8;
    let bits = match g_idx {
        Some(g_idx) if columns == outputs => rows.checked_mul(word)?.checked_div(g_idx.elements())?,
        // A group is never as small as one row.
        None if rows > groups => columns.checked_mul(word)?.checked_div(outputs)?,
        _ => return None,
    };
    [2, 3, 4, 8].contains(&bits).then_some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contents::Contents;
    use crate::tensor::Stored;
    use serde_json::json;

    fn contents(tensors: &[(&str, Dtype, &[u64])], config: Value) -> Contents {
        let tensor = |&(name, dtype, shape): &(&str, Dtype, &[u64])| {
            Tensor::plain(name, dtype, shape.to_vec(), Stored::inline(&[]))
        };
        let mut contents = Contents { tensors: tensors.iter().map(tensor).collect(), ..Contents::default() };
        if !config.is_null() {
            contents.metadata.insert("quantization".to_owned(), config);
        }
        contents
    }

    fn roles(tensors: &[(&str, Dtype, &[u64])], config: Value) -> Vec<Option<Role>> {
        let contents = contents(tensors, config);
        let packing = Packing::of(&contents).unwrap();
        contents.tensors.iter().map(|tensor| packing.role(tensor)).collect()
    }

    const AID: Option<Role> = Some(Role::Aid);
    const fn packed(elements: u64) -> Option<Role> {
        Some(Role::Packed(elements))
    }

    #[test]
    fn gptq_and_awq_count_what_their_words_stand_for() {
        // 256 inputs, 64 outputs.
        let gptq: &[(&str, Dtype, &[u64])] = &[
            ("l.q.qweight", Dtype::I32, &[32, 64]),
            ("l.q.qzeros", Dtype::I32, &[2, 8]),
            ("l.q.scales", Dtype::F16, &[2, 64]),
            ("l.q.g_idx", Dtype::I32, &[256]),
            ("l.q.bias", Dtype::F16, &[64]),
        ];
        let wanted = [packed(256 * 64), AID, AID, AID, None];
        assert_eq!(roles(gptq, json!({"bits": 4, "quant_method": "gptq"})), wanted);
        assert_eq!(roles(gptq, Value::Null), wanted);
        let three = [("q.qweight", Dtype::I32, &[24, 64][..]), ("q.scales", Dtype::F16, &[2, 64])];
        assert_eq!(roles(&three, json!({"bits": 3})), [packed(256 * 64), AID]);
        assert_eq!(roles(&three, Value::Null), [None, None]);
        let awq = [
            ("q.qweight", Dtype::I32, &[256, 8][..]),
            ("q.qzeros", Dtype::I32, &[2, 8]),
            ("q.scales", Dtype::F16, &[2, 64]),
        ];
        assert_eq!(roles(&awq, json!({"w_bit": 4})), [packed(256 * 64), AID, AID]);
        assert_eq!(roles(&awq, Value::Null), [packed(256 * 64), AID, AID]);
    }

    #[test]
    fn mlx_modules_may_have_bits_of_their_own() {
        let tensors: &[(&str, Dtype, &[u64])] = &[
            ("a.weight", Dtype::U32, &[64, 32]),
            ("a.scales", Dtype::F16, &[64, 4]),
            ("a.biases", Dtype::F16, &[64, 4]),
            ("b.weight", Dtype::U32, &[64, 64]),
            ("b.scales", Dtype::F16, &[64, 4]),
            ("norm.weight", Dtype::F16, &[64]),
        ];
        let config = json!({"group_size": 64, "bits": 4, "b": {"group_size": 64, "bits": 8}});
        assert_eq!(roles(tensors, config), [packed(64 * 256), AID, AID, packed(64 * 256), AID, None]);
    }

    #[test]
    fn other_libraries_name_their_packed_words_in_their_own_way() {
        let bitsandbytes: &[(&str, Dtype, &[u64])] = &[
            ("a.weight", Dtype::U8, &[512, 1]),
            ("a.weight.absmax", Dtype::U8, &[16]),
            ("a.weight.quant_map", Dtype::F32, &[16]),
            ("a.weight.quant_state.bitsandbytes__nf4", Dtype::U8, &[100]),
            ("b.weight", Dtype::I8, &[4, 4]),
            ("b.SCB", Dtype::F32, &[4]),
        ];
        assert_eq!(roles(bitsandbytes, Value::Null), [packed(1024), AID, AID, AID, None, AID]);
        let compressed: &[(&str, Dtype, &[u64])] = &[
            ("a.weight_packed", Dtype::I32, &[64, 32]),
            ("a.weight_scale", Dtype::BF16, &[64, 2]),
            ("a.weight_shape", Dtype::I64, &[2]),
        ];
        let config = json!({"config_groups": {"group_0": {"weights": {"num_bits": 4}}}});
        assert_eq!(roles(compressed, config), [packed(64 * 256), AID, AID]);
        let split = json!({"config_groups": {"a": {"weights": {"num_bits": 4}}, "b": {"weights": {"num_bits": 8}}}});
        assert_eq!(roles(compressed, split)[0], None);
        let gpt_oss =
            [("mlp.down_proj_blocks", Dtype::U8, &[2, 8, 4, 16][..]), ("mlp.down_proj_scales", Dtype::U8, &[2, 8, 4])];
        assert_eq!(roles(&gpt_oss, Value::Null), [packed(2 * 8 * 4 * 32), AID]);
    }

    #[test]
    fn scales_of_plain_weights_are_parameters() {
        let plain = [("a.weight", Dtype::F32, &[4, 4][..]), ("a.scales", Dtype::F32, &[4])];
        assert_eq!(roles(&plain, json!({"bits": 4})), [None, None]);
        // A lie about the bits neither divides by zero nor overflows.
        let words = [("a.qweight", Dtype::I32, &[1 << 62, 2][..]), ("a.scales", Dtype::F16, &[1, 1])];
        assert_eq!(roles(&words, json!({"bits": 4}))[0], None);
        assert_eq!(roles(&words, json!({"bits": 0})), [None, None]);
    }
}
