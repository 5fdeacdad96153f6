//! The tensors that a configuration asks for, and those that are there.

use weighthouse_format::gguf::families::Differences;

use super::note;
use crate::scan::pickle::plain;
use crate::scan::report::Finding;
use crate::scan::rules;
use crate::scan::verdict::Verdict;

/// Names that a finding lists.
const SHOWN: usize = 5;

/// Findings about tensors that are missing, of another shape, or of no use. What is of no use is no harm by itself.
#[must_use]
pub fn judge_architecture(differences: &Differences, file: &str) -> Vec<Finding> {
    let Differences { model_type, blocks, unused, missing, shapes, .. } = differences;
    let kind = plain(model_type);
    let mut found = Vec::new();
    let mut say = |verdict, detail: String| {
        found.push(note(rules::WEIGHTS_ARCHITECTURE, verdict, file, "", detail));
    };
    if !missing.is_empty() {
        let detail = format!(
            "a `{kind}` of {blocks} blocks needs {}, and libraries make missing ones up",
            listed(missing, "tensors that are not there", |name| plain(name))
        );
        say(Verdict::Caution, detail);
    }
    if !shapes.is_empty() {
        let one = |(name, is, wanted): &(String, Vec<u64>, Vec<u64>)| format!("{} {is:?} for {wanted:?}", plain(name));
        say(Verdict::Caution, listed(shapes, "tensors have another shape than config.json asks for", one));
    }
    if !unused.is_empty() {
        let detail =
            format!("a `{kind}` of {blocks} blocks has no place for {}", listed(unused, "tensors", |name| plain(name)));
        say(Verdict::Safe, detail);
    }
    found
}

/// How many there are, and the first of them.
fn listed<T>(all: &[T], what: &str, show: impl Fn(&T) -> String) -> String {
    let names: Vec<String> = all.iter().take(SHOWN).map(|one| format!("`{}`", show(one))).collect();
    let more = if all.len() > SHOWN { ", …" } else { "" };
    format!("{} {what}: {}{more}", all.len(), names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_a_caution_and_what_is_too_much_is_told() {
        let mut differences = Differences::default();
        assert!(judge_architecture(&differences, "f").is_empty());
        differences.model_type = "llama".to_owned();
        differences.unused = (0..7).map(|number| format!("extra.{number}")).collect();
        let found = judge_architecture(&differences, "f");
        assert_eq!((found.len(), found[0].verdict), (1, Verdict::Safe));
        assert!(
            found[0].detail.contains("7 tensors: `extra.0`") && found[0].detail.ends_with("…"),
            "{}",
            found[0].detail
        );
        differences.missing = vec!["model.norm.weight".to_owned()];
        differences.shapes = vec![("lm_head.weight".to_owned(), vec![3, 2], vec![4, 2])];
        let found = judge_architecture(&differences, "f");
        assert_eq!(found.iter().filter(|found| found.verdict == Verdict::Caution).count(), 2);
        assert!(found.iter().any(|found| found.detail.contains("[3, 2] for [4, 2]")), "{found:?}");
    }
}
