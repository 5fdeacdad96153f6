//! Source of TorchScript: compiled by torch, not by Python, but some of its operators reach outside.

use super::super::report::Finding;
use super::super::rules;
use super::super::session::{Item, Session};
use super::super::verdict::Verdict;

/// Operators that read or write files, or load libraries.
const OUTWARD: &[&str] = &[
    "torch.save(",
    "torch.load(",
    "torch.from_file(",
    "ops.aten.save(",
    "ops.aten.from_file(",
    "ops.aten._save(",
    "torch.ops.load_library",
    "ops.prim.PythonOp",
    "torch.jit.load(",
];

/// Namespaces of operators that come with torch and its own libraries.
const OWN: &[&str] = &[
    "aten",
    "prim",
    "prims",
    "quantized",
    "prepacked",
    "inductor",
    "torchvision",
    "torchaudio",
    "onednn",
    "mkldnn",
    "mkldnn_prepacked",
    "xnnpack",
    "quantized_decomposed",
    "profiler",
    "c10d",
    "static_runtime",
    "image",
];

/// Judges a file of source.
pub(in crate::scan) fn source(session: &mut Session<'_>, item: &Item) {
    let Some(bytes) = session.parsed(item, "source of TorchScript") else { return };
    let text = String::from_utf8_lossy(&bytes);
    for (number, line) in text.lines().enumerate() {
        let squeezed: String = line.chars().filter(|character| !character.is_whitespace()).collect();
        for name in OUTWARD.iter().filter(|name| squeezed.contains(**name)) {
            let detail = format!(
                "line {}: `{}` reads or writes files when the model runs",
                number + 1,
                name.trim_end_matches('(')
            );
            session.add(item, Finding::of(rules::SCRIPT_FILES, Verdict::Unsafe, detail));
        }
        for (at, _) in line.match_indices("ops.") {
            let word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
            if line.as_bytes().get(at.wrapping_sub(1)).is_some_and(word) {
                continue;
            }
            let rest = line.get(at + 4..).unwrap_or_default();
            let end = rest.bytes().position(|byte| !word(&byte)).unwrap_or(rest.len());
            let namespace = rest.get(..end).unwrap_or_default();
            if !namespace.is_empty() && !OWN.contains(&namespace) {
                let detail = format!("line {}: needs operators `{namespace}` of a plugin", number + 1);
                session.add(item, Finding::of(rules::CUSTOM_OPERATOR, Verdict::Caution, detail));
            }
        }
    }
}
