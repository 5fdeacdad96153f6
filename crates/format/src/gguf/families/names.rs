//! From a tensor's name to the module that it belongs to, and back.

use crate::gguf::families::table::{BUFFER_ENDS, Family, Rule};

/// A name taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Found {
    /// Number of the rule in its family.
    pub(super) rule: usize,
    pub(super) block: Option<u64>,
    pub(super) expert: Option<u64>,
    /// `.weight` or `.bias`.
    pub(super) end: &'static str,
}

/// What becomes of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Kept(Found),
    /// A buffer that the model makes itself, or a part that the file has no place for, with what it is.
    LeftOut(Option<&'static str>),
    Unknown,
}

/// Looks up a name of transformers, whatever class wrote it.
pub(super) fn of_hf(family: &Family, name: &str) -> Fate {
    let name = canonical(family, name);
    if BUFFER_ENDS.iter().any(|end| name.ends_with(end)) {
        return Fate::LeftOut(None);
    }
    if let Some((_, why)) = family.left_out.iter().find(|(begin, _)| name.starts_with(begin)) {
        return Fate::LeftOut(*why);
    }
    find(family, &name, |rule| rule.hf).map_or(Fate::Unknown, Fate::Kept)
}

/// Looks up a name of GGUF.
pub(super) fn of_gguf(family: &Family, name: &str) -> Option<Found> {
    find(family, name, |rule| rule.gguf)
}

/// The name that a pattern gives.
pub(super) fn fill(pattern: &str, numbers: &[Option<u64>]) -> String {
    let mut out = String::with_capacity(pattern.len() + 4);
    let mut numbers = numbers.iter().flatten();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once("{}") {
        out.push_str(before);
        if let Some(number) = numbers.next() {
            out.push_str(&number.to_string());
        }
        rest = after;
    }
    out + rest
}

fn find(family: &Family, name: &str, pattern: impl Fn(&Rule) -> &'static str) -> Option<Found> {
    let (module, end) = [".weight", ".bias"].iter().find_map(|end| Some((name.strip_suffix(end)?, *end)))?;
    family.rules.iter().enumerate().find_map(|(number, rule)| {
        let [block, expert] = matches(pattern(rule), module)?;
        Some(Found { rule: number, block, expert, end })
    })
}

/// The numbers in the places of a pattern, where the name is of it.
fn matches(pattern: &str, name: &str) -> Option<[Option<u64>; 2]> {
    let mut numbers = [None; 2];
    let mut places = numbers.iter_mut();
    let (mut parts, mut wanted) = (name.split('.'), pattern.split('.'));
    loop {
        match (parts.next(), wanted.next()) {
            (None, None) => return Some(numbers),
            (Some(part), Some("{}")) => *places.next()? = Some(number(part)?),
            (Some(part), Some(word)) if part == word => {}
            _ => return None,
        }
    }
}

/// A number as programs write it; `01` would be another name for the same block.
fn number(text: &str) -> Option<u64> {
    let number: u32 = text.parse().ok()?;
    (number.to_string() == text).then_some(number.into())
}

/// The name that the family's class with a head gives.
fn canonical(family: &Family, name: &str) -> String {
    const PARTS: &[(&str, &str)] = &[
        ("language_model.model.", "model."),
        ("model.language_model.", "model."),
        ("language_model.lm_head.", "lm_head."),
    ];
    if family.arch == "bert" {
        let name = name.strip_prefix("bert.").unwrap_or(name);
        // The first checkpoints kept TensorFlow's words.
        return match name.strip_suffix(".gamma") {
            Some(module) => format!("{module}.weight"),
            None => name.strip_suffix(".beta").map_or_else(|| name.to_owned(), |module| format!("{module}.bias")),
        };
    }
    if let Some((name, to)) = PARTS.iter().find_map(|(from, to)| Some((name.strip_prefix(from)?, to))) {
        return format!("{to}{name}");
    }
    let first = name.split('.').next().unwrap_or_default();
    let bare = family
        .rules
        .iter()
        .any(|rule| rule.hf.strip_prefix(family.base).is_some_and(|rest| rest.split('.').next() == Some(first)));
    if bare && !name.starts_with(family.base) { format!("{}{name}", family.base) } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::families::table::FAMILIES;

    fn family(arch: &str) -> &'static Family {
        FAMILIES.iter().find(|family| family.arch == arch).unwrap()
    }

    fn gguf(arch: &str, name: &str) -> Option<String> {
        match of_hf(family(arch), name) {
            Fate::Kept(found) => Some(fill(family(arch).rules[found.rule].gguf, &[found.block]) + found.end),
            _ => None,
        }
    }

    #[test]
    fn a_module_is_found_whatever_class_wrote_it() {
        for (arch, name, expected) in [
            ("llama", "model.layers.11.self_attn.q_proj.weight", "blk.11.attn_q.weight"),
            ("llama", "layers.11.self_attn.q_proj.bias", "blk.11.attn_q.bias"),
            ("llama", "norm.weight", "output_norm.weight"),
            ("gemma3", "language_model.model.embed_tokens.weight", "token_embd.weight"),
            ("gemma3", "model.language_model.norm.weight", "output_norm.weight"),
            ("gpt2", "h.0.ln_1.weight", "blk.0.attn_norm.weight"),
            ("gpt2", "transformer.wpe.weight", "position_embd.weight"),
            ("bert", "bert.encoder.layer.3.output.LayerNorm.gamma", "blk.3.layer_output_norm.weight"),
            ("bert", "embeddings.LayerNorm.beta", "token_embd_norm.bias"),
            ("qwen3moe", "model.layers.0.mlp.experts.7.up_proj.weight", "blk.0.ffn_up_exps.weight"),
        ] {
            assert_eq!(gguf(arch, name).as_deref(), Some(expected), "{name}");
        }
    }

    #[test]
    fn names_that_are_not_the_familys_are_not_guessed() {
        for name in [
            "model.layers.01.self_attn.q_proj.weight",
            "model.layers.+1.self_attn.q_proj.weight",
            "model.layers.99999999999.self_attn.q_proj.weight",
            "model.layers.0.self_attn.q_proj.weight_scale",
            "model.layers.0.self_attn.q_proj",
            "model.layers.0.mlp.experts.0.up_proj.weight",
            "score.weight",
            "",
        ] {
            assert_eq!(of_hf(family("llama"), name), Fate::Unknown, "{name}");
        }
        assert_eq!(of_hf(family("gpt2"), "h.0.attn.bias"), Fate::LeftOut(None));
        assert!(matches!(of_hf(family("bert"), "bert.pooler.dense.weight"), Fate::LeftOut(Some(_))));
    }

    #[test]
    fn every_gguf_name_leads_back() {
        for family in FAMILIES {
            for (number, rule) in family.rules.iter().enumerate() {
                let block = rule.gguf.contains("{}").then_some(7);
                let found = of_gguf(family, &(fill(rule.gguf, &[block]) + ".weight")).unwrap();
                assert_eq!((found.rule, found.block), (number, block));
            }
        }
    }
}
