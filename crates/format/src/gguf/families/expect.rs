//! The tensors that a model's configuration asks for, compared with those that are there.
//!
//! Only for the families of the table, and only as far as it goes: what is not known is not said. Names that a class with
//! a head of its own has beside the model are left alone.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::names::{Fate, Found, fill, of_hf};
use super::settings::{Settings, Sizes};
use super::table::{Change, FAMILIES, Family, Need, Rule};
use crate::tensor::Tensor;

/// Most names that are kept of each kind.
const MOST: usize = 100;

/// How the tensors of a model differ from what its configuration asks for. Names are in the words of transformers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    /// `model_type` of the configuration.
    pub model_type: String,
    /// Blocks that the configuration has.
    pub blocks: u64,
    /// Tensors that were recognised.
    pub known: u64,
    /// Tensors that the model has no place for; the first hundred.
    pub unused: Vec<String>,
    /// Tensors that the model needs and that are not there; the first hundred.
    pub missing: Vec<String>,
    /// Tensors of another shape: name, shape, and the shape that the configuration asks for; the first hundred.
    pub shapes: Vec<(String, Vec<u64>, Vec<u64>)>,
}

impl Differences {
    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.unused.is_empty() && self.missing.is_empty() && self.shapes.is_empty()
    }
}

/// Compares tensors with a `config.json`; `None` for architectures that are not known here, for quantised models, and for
/// tensors under other names than those of transformers.
///
/// `whole` says that these are all tensors of the model, so that some can be missing.
#[must_use]
pub fn differences(config: &Map<String, Value>, tensors: &[Tensor], whole: bool) -> Option<Differences> {
    let settings = Settings::new(config);
    let model_type = settings.model_type()?;
    let family = FAMILIES.iter().find(|family| family.model_types.contains(&model_type))?;
    let sizes = settings.sizes(family.defaults).ok()?;
    let is_mixed = settings.find(&["mlp_only_layers"]).and_then(Value::as_array).is_some_and(|list| !list.is_empty())
        || settings.count(&["decoder_sparse_step"]).ok()?.unwrap_or(1) != 1;
    if config.get("quantization_config").is_some_and(|value| !value.is_null()) || (sizes.experts > 0 && is_mixed) {
        return None;
    }
    let class = config.get("architectures").and_then(|list| list.get(0)).and_then(Value::as_str).unwrap_or_default();
    let expect = Expect { family, settings, sizes, class };
    let mut out = Differences { model_type: model_type.to_owned(), blocks: sizes.blocks, ..Differences::default() };
    let mut weights = BTreeSet::new();
    for tensor in tensors {
        match of_hf(family, &tensor.name) {
            Fate::Kept(found) if expect.has(found) => {
                out.known += 1;
                if found.end == ".weight" {
                    weights.insert((found.rule, found.block));
                }
                if let Some(shape) = expect.shape(found).filter(|shape| *shape != tensor.shape)
                    && out.shapes.len() < MOST
                {
                    out.shapes.push((tensor.name.clone(), tensor.shape.clone(), shape));
                }
            }
            Fate::LeftOut(_) => {}
            Fate::Kept(_) => add(&mut out.unused, tensor.name.clone()),
            Fate::Unknown if expect.is_of_another_part(&tensor.name) => {}
            Fate::Unknown => add(&mut out.unused, tensor.name.clone()),
        }
    }
    // Other names mean other code, which knows what to do with them.
    if out.known * 2 <= tensors.len() as u64 {
        return None;
    }
    if whole {
        expect.missing(&weights, &mut out.missing);
    }
    Some(out)
}

fn add(list: &mut Vec<String>, name: String) {
    if list.len() < MOST {
        list.push(name);
    }
}

/// What a configuration asks for.
struct Expect<'a> {
    family: &'static Family,
    settings: Settings<'a>,
    sizes: Sizes,
    class: &'a str,
}

impl Expect<'_> {
    fn rule(&self, number: usize) -> Option<&'static Rule> {
        self.family.rules.get(number)
    }

    /// Whether the model has a place for it.
    fn has(&self, found: Found) -> bool {
        let Some(rule) = self.rule(found.rule) else { return false };
        let in_blocks = found.block.is_none_or(|block| block < self.sizes.blocks);
        let in_experts = found.expert.is_none_or(|expert| expert < self.sizes.experts);
        // A head beside a tied embedding is told apart from this, by its values.
        in_blocks && in_experts && rule.need != if self.sizes.experts > 0 { Need::Dense } else { Need::Experts }
    }

    /// Whether a name that is not the model's may be that of a head or of an adapter, of which nothing is known here.
    fn is_of_another_part(&self, name: &str) -> bool {
        let ours = ["Model", "ForCausalLM", "LMHeadModel"].iter().any(|end| self.class.ends_with(end));
        let begins = |list: &[&str]| list.iter().any(|begin| name.starts_with(begin));
        let inside = begins(&["model.", "layers.", "transformer.", "h.", "bert.", "embeddings.", "encoder."]);
        // Experts may be stacked, and quantised weights have scales.
        (!ours && !inside) || name.contains(".experts.") || name.contains("scale") || name.contains("lora")
    }

    fn missing(&self, weights: &BTreeSet<(usize, Option<u64>)>, out: &mut Vec<String>) {
        let experts = self.sizes.experts > 0;
        let tied = self.settings.tied(self.family.tied);
        let headed = ["ForCausalLM", "LMHeadModel"].iter().any(|end| self.class.ends_with(end));
        for (number, rule) in self.family.rules.iter().enumerate() {
            let needed = match rule.need {
                Need::Always => true,
                Need::Dense => !experts,
                Need::Experts => experts,
                Need::Never => rule.gguf == "output" && headed && !tied,
            };
            let is_block = rule.gguf.starts_with("blk.");
            let blocks = if is_block { self.sizes.blocks } else { 1 };
            for block in (0..blocks).map(|block| is_block.then_some(block)).filter(|_| needed) {
                if !weights.contains(&(number, block)) {
                    let expert = (rule.change == Change::Stack).then_some(0);
                    add(out, fill(rule.hf, &[block, expert]) + ".weight");
                }
            }
        }
    }

    /// The shape of a tensor, where the configuration says it.
    fn shape(&self, found: Found) -> Option<Vec<u64>> {
        let rule = self.rule(found.rule)?;
        let Sizes { hidden, heads, kv_heads, head_dim, experts, .. } = self.sizes;
        let size = |keys: &[&str]| self.settings.count(keys).ok().flatten();
        let inner = || {
            let inner = size(&["intermediate_size", "n_inner"]);
            if self.family.arch == "gpt2" { inner.or_else(|| hidden.checked_mul(4)) } else { inner }
        };
        let of_experts = || if self.family.arch == "llama" { inner() } else { size(&["moe_intermediate_size"]) };
        let queries = heads.checked_mul(head_dim)?;
        let keys = kv_heads.checked_mul(head_dim)?;
        let (rows, columns) = match rule.gguf.trim_start_matches("blk.{}.") {
            "token_embd" | "output" => (size(&["vocab_size"])?, Some(hidden)),
            "position_embd" => (size(&["max_position_embeddings", "n_positions"])?, Some(hidden)),
            "token_types" => (size(&["type_vocab_size"])?, Some(hidden)),
            "attn_q" => (queries, Some(hidden)),
            "attn_k" | "attn_v" => (keys, Some(hidden)),
            "attn_qkv" => (queries.checked_add(keys.checked_mul(2)?)?, Some(hidden)),
            "attn_output" => (hidden, Some(queries)),
            "attn_q_norm" | "attn_k_norm" => (head_dim, None),
            "ffn_up" if self.family.arch == "phi3" => (inner()?.checked_mul(2)?, Some(hidden)),
            "ffn_gate" | "ffn_up" => (inner()?, Some(hidden)),
            "ffn_down" => (hidden, Some(inner()?)),
            "ffn_gate_inp" => (experts, Some(hidden)),
            "ffn_gate_exps" | "ffn_up_exps" => (of_experts()?, Some(hidden)),
            "ffn_down_exps" => (hidden, Some(of_experts()?)),
            norm if norm.ends_with("norm") => (hidden, None),
            _ => return None,
        };
        Some(match columns {
            Some(columns) if found.end == ".weight" && rule.change == Change::Transpose => vec![columns, rows],
            Some(columns) if found.end == ".weight" => vec![rows, columns],
            _ => vec![rows],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::Dtype;
    use crate::tensor::Stored;
    use serde_json::json;

    fn config() -> Map<String, Value> {
        let config = json!({
            "model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 2, "hidden_size": 8,
            "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 12, "vocab_size": 20,
        });
        config.as_object().cloned().unwrap()
    }

    fn tensor(name: &str, shape: &[u64]) -> Tensor {
        Tensor::plain(name, Dtype::F32, shape.to_vec(), Stored::Fill([0u8].as_slice().into()))
    }

    fn llama() -> Vec<Tensor> {
        let mut all = vec![
            tensor("model.embed_tokens.weight", &[20, 8]),
            tensor("model.norm.weight", &[8]),
            tensor("lm_head.weight", &[20, 8]),
        ];
        for block in 0..2 {
            for (name, shape) in [
                ("input_layernorm", &[8][..]),
                ("self_attn.q_proj", &[8, 8]),
                ("self_attn.k_proj", &[4, 8]),
                ("self_attn.v_proj", &[4, 8]),
                ("self_attn.o_proj", &[8, 8]),
                ("post_attention_layernorm", &[8]),
                ("mlp.gate_proj", &[12, 8]),
                ("mlp.up_proj", &[12, 8]),
                ("mlp.down_proj", &[8, 12]),
            ] {
                all.push(tensor(&format!("model.layers.{block}.{name}.weight"), shape));
            }
        }
        all
    }

    #[test]
    fn a_model_that_is_what_it_says_has_no_differences() {
        let found = differences(&config(), &llama(), true).unwrap();
        assert!(found.is_empty() && found.known == 21, "{found:?}");
        // A buffer, and a model without its head.
        let mut all = llama();
        all.push(tensor("model.layers.0.self_attn.rotary_emb.inv_freq", &[1]));
        all.remove(2);
        let mut base = config();
        base["architectures"] = json!(["LlamaModel"]);
        assert!(differences(&base, &all, true).unwrap().is_empty());
        let mut tied = config();
        tied.insert("tie_word_embeddings".to_owned(), json!(true));
        assert!(differences(&tied, &all, true).unwrap().is_empty());
        let mut scored = config();
        scored["architectures"] = json!(["LlamaForSequenceClassification"]);
        all.push(tensor("score.weight", &[2, 8]));
        assert!(differences(&scored, &all, true).unwrap().is_empty());
    }

    #[test]
    fn what_is_missing_unused_or_of_another_shape_is_told() {
        let mut all = llama();
        all.retain(|tensor| tensor.name != "model.layers.1.mlp.up_proj.weight");
        all.push(tensor("model.layers.2.mlp.up_proj.weight", &[12, 8]));
        all.push(tensor("model.hidden.weight", &[1000, 1000]));
        all[0].shape = vec![21, 8];
        let found = differences(&config(), &all, true).unwrap();
        assert_eq!(found.missing, ["model.layers.1.mlp.up_proj.weight"]);
        assert_eq!(found.unused, ["model.layers.2.mlp.up_proj.weight", "model.hidden.weight"]);
        assert_eq!(found.shapes, [("model.embed_tokens.weight".to_owned(), vec![21, 8], vec![20, 8])]);
        assert!(differences(&config(), &all, false).unwrap().missing.is_empty(), "one shard is not all");
        let headless: Vec<Tensor> = llama().into_iter().filter(|tensor| tensor.name != "lm_head.weight").collect();
        assert_eq!(differences(&config(), &headless, true).unwrap().missing, ["lm_head.weight"]);
    }

    #[test]
    fn what_is_not_known_is_not_said() {
        let with = |key: &str, value: Value| {
            let mut config = config();
            config.insert(key.to_owned(), value);
            differences(&config, &llama(), true)
        };
        assert_eq!(with("model_type", json!("t5")), None);
        assert_eq!(with("model_type", json!(7)), None);
        assert_eq!(with("quantization_config", json!({"quant_method": "awq"})), None);
        assert_eq!(with("num_hidden_layers", json!(4_000_000_000u64)), None);
        assert_eq!(with("num_key_value_heads", json!(3)), None);
        assert_eq!(differences(&config(), &[tensor("blk.0.attn_q.weight", &[8, 8])], true), None);
        assert_eq!(differences(&Map::new(), &llama(), true), None);
        assert_eq!(differences(&config(), &[], true), None);
        // The most blocks that a configuration may have: what is missing is bounded.
        let many = with("num_hidden_layers", json!(8192)).unwrap();
        assert_eq!(many.missing.len(), MOST);
    }

    #[test]
    fn a_transposed_matrix_is_expected_as_it_lies() {
        let config = json!({
            "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_layer": 1, "n_embd": 8, "n_head": 2,
            "vocab_size": 20, "n_positions": 16,
        });
        let mut all = vec![
            tensor("wte.weight", &[20, 8]),
            tensor("wpe.weight", &[16, 8]),
            tensor("ln_f.weight", &[8]),
            tensor("ln_f.bias", &[8]),
        ];
        for (name, shape) in [
            ("ln_1.weight", &[8][..]),
            ("attn.bias", &[1, 1, 16, 16]),
            ("attn.c_attn.weight", &[8, 24]),
            ("attn.c_attn.bias", &[24]),
            ("attn.c_proj.weight", &[8, 8]),
            ("ln_2.weight", &[8]),
            ("mlp.c_fc.weight", &[8, 32]),
            ("mlp.c_fc.bias", &[32]),
            ("mlp.c_proj.weight", &[32, 8]),
        ] {
            all.push(tensor(&format!("h.0.{name}"), shape));
        }
        let found = differences(config.as_object().unwrap(), &all, true).unwrap();
        assert!(found.is_empty(), "{found:?}");
    }
}
