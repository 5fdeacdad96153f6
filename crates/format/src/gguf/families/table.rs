//! Families of models, and the two names of each of their tensors.
//!
//! `{}` stands for the number of the block, a second one for that of the expert. Names end before `.weight` and `.bias`.
//!
//! # Source
//! The names that transformers gives parameters, and those of `gguf` 0.19 (`tensor_mapping`).

/// A family: what GGUF calls one architecture.
#[derive(Debug)]
pub(super) struct Family {
    /// Value of `general.architecture`.
    pub(super) arch: &'static str,
    /// `model_type` of the configurations that it takes; the first one is written back.
    pub(super) model_types: &'static [&'static str],
    /// Class that loads what is written back.
    pub(super) class: &'static str,
    /// What names of the head's class begin with, and those of the model's own class do not.
    pub(super) base: &'static str,
    /// Its tensors, in the order in which they are written.
    pub(super) rules: &'static [Rule],
    /// Sizes that its configurations may leave out.
    pub(super) defaults: &'static [(&'static str, u64)],
    /// Whether the head is the embedding when the configuration does not say.
    pub(super) tied: bool,
    /// What is left out: begins of names, and why; `None` for buffers, of which nothing needs to be said.
    pub(super) left_out: &'static [(&'static str, Option<&'static str>)],
}

/// A module with its two names.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) hf: &'static str,
    pub(super) gguf: &'static str,
    pub(super) change: Change,
    pub(super) need: Need,
}

/// What is done to the numbers on the way to GGUF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// Rows of each query head: halves that rotate together become neighbours.
    QueryRows,
    /// The same for key heads.
    KeyRows,
    /// One is added: the loader multiplies by the weight, the model by one more.
    AddOne,
    /// Inputs and outputs change places.
    Transpose,
    /// One of the experts that are stacked.
    Stack,
}

/// When a weight must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Always,
    /// In models without experts.
    Dense,
    /// In models with experts.
    Experts,
    Never,
}

const fn rule(hf: &'static str, gguf: &'static str) -> Rule {
    Rule { hf, gguf, change: Change::None, need: Need::Always }
}

impl Rule {
    const fn with(self, change: Change) -> Self {
        Self { change, ..self }
    }

    const fn when(self, need: Need) -> Self {
        Self { need, ..self }
    }
}

const EMBED: Rule = rule("model.embed_tokens", "token_embd");
const HEAD: Rule = rule("lm_head", "output").when(Need::Never);
const NORM: Rule = rule("model.norm", "output_norm");
const INPUT_NORM: Rule = rule("model.layers.{}.input_layernorm", "blk.{}.attn_norm");
const Q: Rule = rule("model.layers.{}.self_attn.q_proj", "blk.{}.attn_q");
const K: Rule = rule("model.layers.{}.self_attn.k_proj", "blk.{}.attn_k");
const V: Rule = rule("model.layers.{}.self_attn.v_proj", "blk.{}.attn_v");
const O: Rule = rule("model.layers.{}.self_attn.o_proj", "blk.{}.attn_output");
const Q_NORM: Rule = rule("model.layers.{}.self_attn.q_norm", "blk.{}.attn_q_norm");
const K_NORM: Rule = rule("model.layers.{}.self_attn.k_norm", "blk.{}.attn_k_norm");
const FFN_NORM: Rule = rule("model.layers.{}.post_attention_layernorm", "blk.{}.ffn_norm");
const GATE: Rule = rule("model.layers.{}.mlp.gate_proj", "blk.{}.ffn_gate").when(Need::Dense);
const UP: Rule = rule("model.layers.{}.mlp.up_proj", "blk.{}.ffn_up").when(Need::Dense);
const DOWN: Rule = rule("model.layers.{}.mlp.down_proj", "blk.{}.ffn_down").when(Need::Dense);
const ROUTER: Rule = rule("model.layers.{}.mlp.gate", "blk.{}.ffn_gate_inp").when(Need::Experts);
const GATES: Rule = expert("model.layers.{}.mlp.experts.{}.gate_proj", "blk.{}.ffn_gate_exps");
const UPS: Rule = expert("model.layers.{}.mlp.experts.{}.up_proj", "blk.{}.ffn_up_exps");
const DOWNS: Rule = expert("model.layers.{}.mlp.experts.{}.down_proj", "blk.{}.ffn_down_exps");

const fn expert(hf: &'static str, gguf: &'static str) -> Rule {
    rule(hf, gguf).with(Change::Stack).when(Need::Experts)
}

const BUFFERS: &[(&str, Option<&str>)] = &[];

const LLAMA: Family = Family {
    arch: "llama",
    model_types: &["llama", "mistral", "mixtral"],
    class: "LlamaForCausalLM",
    base: "model.",
    rules: &[
        EMBED,
        INPUT_NORM,
        Q.with(Change::QueryRows),
        K.with(Change::KeyRows),
        V,
        O,
        FFN_NORM,
        GATE,
        UP,
        DOWN,
        rule("model.layers.{}.block_sparse_moe.gate", "blk.{}.ffn_gate_inp").when(Need::Experts),
        expert("model.layers.{}.block_sparse_moe.experts.{}.w1", "blk.{}.ffn_gate_exps"),
        expert("model.layers.{}.block_sparse_moe.experts.{}.w3", "blk.{}.ffn_up_exps"),
        expert("model.layers.{}.block_sparse_moe.experts.{}.w2", "blk.{}.ffn_down_exps"),
        NORM,
        HEAD,
    ],
    defaults: &[],
    tied: false,
    left_out: BUFFERS,
};

const QWEN2: Family = Family {
    arch: "qwen2",
    model_types: &["qwen2"],
    class: "Qwen2ForCausalLM",
    base: "model.",
    rules: &[EMBED, INPUT_NORM, Q, K, V, O, FFN_NORM, GATE, UP, DOWN, NORM, HEAD],
    defaults: &[],
    tied: false,
    left_out: BUFFERS,
};

const QWEN2_MOE: Family = Family {
    arch: "qwen2moe",
    model_types: &["qwen2_moe"],
    class: "Qwen2MoeForCausalLM",
    base: "model.",
    rules: &[
        EMBED,
        INPUT_NORM,
        Q,
        K,
        V,
        O,
        FFN_NORM,
        ROUTER,
        GATES,
        UPS,
        DOWNS,
        rule("model.layers.{}.mlp.shared_expert_gate", "blk.{}.ffn_gate_inp_shexp"),
        rule("model.layers.{}.mlp.shared_expert.gate_proj", "blk.{}.ffn_gate_shexp"),
        rule("model.layers.{}.mlp.shared_expert.up_proj", "blk.{}.ffn_up_shexp"),
        rule("model.layers.{}.mlp.shared_expert.down_proj", "blk.{}.ffn_down_shexp"),
        NORM,
        HEAD,
    ],
    defaults: &[],
    tied: false,
    left_out: BUFFERS,
};

const QWEN3: Family = Family {
    arch: "qwen3",
    model_types: &["qwen3"],
    class: "Qwen3ForCausalLM",
    base: "model.",
    rules: &[EMBED, INPUT_NORM, Q, K, V, O, Q_NORM, K_NORM, FFN_NORM, GATE, UP, DOWN, NORM, HEAD],
    defaults: &[("head_dim", 128)],
    tied: false,
    left_out: BUFFERS,
};

const QWEN3_MOE: Family = Family {
    arch: "qwen3moe",
    model_types: &["qwen3_moe"],
    class: "Qwen3MoeForCausalLM",
    base: "model.",
    rules: &[EMBED, INPUT_NORM, Q, K, V, O, Q_NORM, K_NORM, FFN_NORM, ROUTER, GATES, UPS, DOWNS, NORM, HEAD],
    defaults: &[],
    tied: false,
    left_out: BUFFERS,
};

const GEMMA: Family = Family {
    arch: "gemma",
    model_types: &["gemma"],
    class: "GemmaForCausalLM",
    base: "model.",
    rules: &[
        EMBED,
        INPUT_NORM.with(Change::AddOne),
        Q,
        K,
        V,
        O,
        FFN_NORM.with(Change::AddOne),
        GATE,
        UP,
        DOWN,
        NORM.with(Change::AddOne),
        HEAD,
    ],
    defaults: &[("head_dim", 256)],
    tied: true,
    left_out: BUFFERS,
};

const GEMMA2: Family = Family {
    arch: "gemma2",
    model_types: &["gemma2"],
    class: "Gemma2ForCausalLM",
    base: "model.",
    rules: &[
        EMBED,
        INPUT_NORM.with(Change::AddOne),
        Q,
        K,
        V,
        O,
        rule("model.layers.{}.post_attention_layernorm", "blk.{}.post_attention_norm").with(Change::AddOne),
        rule("model.layers.{}.pre_feedforward_layernorm", "blk.{}.ffn_norm").with(Change::AddOne),
        GATE,
        UP,
        DOWN,
        rule("model.layers.{}.post_feedforward_layernorm", "blk.{}.post_ffw_norm").with(Change::AddOne),
        NORM.with(Change::AddOne),
        HEAD,
    ],
    defaults: &[("head_dim", 256)],
    tied: true,
    left_out: BUFFERS,
};

const GEMMA3: Family = Family {
    arch: "gemma3",
    model_types: &["gemma3_text", "gemma3"],
    class: "Gemma3ForCausalLM",
    base: "model.",
    rules: &[
        EMBED,
        INPUT_NORM.with(Change::AddOne),
        Q,
        K,
        V,
        O,
        Q_NORM.with(Change::AddOne),
        K_NORM.with(Change::AddOne),
        rule("model.layers.{}.post_attention_layernorm", "blk.{}.post_attention_norm").with(Change::AddOne),
        rule("model.layers.{}.pre_feedforward_layernorm", "blk.{}.ffn_norm").with(Change::AddOne),
        GATE,
        UP,
        DOWN,
        rule("model.layers.{}.post_feedforward_layernorm", "blk.{}.post_ffw_norm").with(Change::AddOne),
        NORM.with(Change::AddOne),
        HEAD,
    ],
    defaults: &[("head_dim", 256), ("num_attention_heads", 8), ("num_key_value_heads", 4)],
    tied: true,
    left_out: &[
        ("vision_tower.", Some("the part that sees")),
        ("multi_modal_projector.", Some("the part that sees")),
        ("model.vision_tower.", Some("the part that sees")),
        ("model.multi_modal_projector.", Some("the part that sees")),
    ],
};

const PHI3: Family = Family {
    arch: "phi3",
    model_types: &["phi3"],
    class: "Phi3ForCausalLM",
    base: "model.",
    rules: &[
        EMBED,
        INPUT_NORM,
        rule("model.layers.{}.self_attn.qkv_proj", "blk.{}.attn_qkv"),
        O,
        FFN_NORM,
        rule("model.layers.{}.mlp.gate_up_proj", "blk.{}.ffn_up"),
        DOWN,
        NORM,
        HEAD,
    ],
    defaults: &[],
    tied: false,
    left_out: BUFFERS,
};

const GPT2: Family = Family {
    arch: "gpt2",
    model_types: &["gpt2"],
    class: "GPT2LMHeadModel",
    base: "transformer.",
    rules: &[
        rule("transformer.wte", "token_embd"),
        rule("transformer.wpe", "position_embd"),
        rule("transformer.h.{}.ln_1", "blk.{}.attn_norm"),
        rule("transformer.h.{}.attn.c_attn", "blk.{}.attn_qkv").with(Change::Transpose),
        rule("transformer.h.{}.attn.c_proj", "blk.{}.attn_output").with(Change::Transpose),
        rule("transformer.h.{}.ln_2", "blk.{}.ffn_norm"),
        rule("transformer.h.{}.mlp.c_fc", "blk.{}.ffn_up").with(Change::Transpose),
        rule("transformer.h.{}.mlp.c_proj", "blk.{}.ffn_down").with(Change::Transpose),
        rule("transformer.ln_f", "output_norm"),
        HEAD,
    ],
    defaults: &[],
    tied: true,
    left_out: BUFFERS,
};

const BERT: Family = Family {
    arch: "bert",
    model_types: &["bert"],
    class: "BertModel",
    base: "",
    rules: &[
        rule("embeddings.word_embeddings", "token_embd"),
        rule("embeddings.position_embeddings", "position_embd"),
        rule("embeddings.token_type_embeddings", "token_types"),
        rule("embeddings.LayerNorm", "token_embd_norm"),
        rule("encoder.layer.{}.attention.self.query", "blk.{}.attn_q"),
        rule("encoder.layer.{}.attention.self.key", "blk.{}.attn_k"),
        rule("encoder.layer.{}.attention.self.value", "blk.{}.attn_v"),
        rule("encoder.layer.{}.attention.output.dense", "blk.{}.attn_output"),
        rule("encoder.layer.{}.attention.output.LayerNorm", "blk.{}.attn_output_norm"),
        rule("encoder.layer.{}.intermediate.dense", "blk.{}.ffn_up"),
        rule("encoder.layer.{}.output.dense", "blk.{}.ffn_down"),
        rule("encoder.layer.{}.output.LayerNorm", "blk.{}.layer_output_norm"),
    ],
    defaults: &[],
    tied: false,
    left_out: &[
        ("embeddings.position_ids", None),
        ("pooler.dense.", Some("the pooler, which embeddings do not use")),
        ("cls.predictions.", Some("the head that fills masks")),
        ("cls.seq_relationship.", Some("the head that judges neighbours")),
    ],
};

/// All families.
pub(super) const FAMILIES: &[Family] =
    &[LLAMA, QWEN2, QWEN2_MOE, QWEN3, QWEN3_MOE, GEMMA, GEMMA2, GEMMA3, PHI3, GPT2, BERT];

/// Ends of names of buffers that older files carry.
pub(super) const BUFFER_ENDS: &[&str] =
    &[".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_stands_for_two_modules() {
        for family in FAMILIES {
            for (at, rule) in family.rules.iter().enumerate() {
                let places = |name: &str| name.matches("{}").count();
                let experts = usize::from(rule.change == Change::Stack);
                assert_eq!(places(rule.hf), places(rule.gguf) + experts, "{} of {}", rule.hf, family.arch);
                for other in &family.rules[at + 1..] {
                    assert_ne!((rule.hf, rule.gguf), (other.hf, other.gguf));
                    assert!(rule.hf != other.hf && rule.gguf != other.gguf, "{} of {}", rule.hf, family.arch);
                }
            }
        }
    }
}
