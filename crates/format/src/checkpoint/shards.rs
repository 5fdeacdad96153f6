//! Weights that are split over several files: numbered names, and the index that says which tensor is where.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::contents::{Contents, WarningKind};

/// Name of a file without its extension and its number: `model` of `model-00001-of-00003.safetensors`, and the number
/// and count if there are any.
pub(super) fn stem(path: &str) -> (&str, Option<(u64, u64)>) {
    let name = path.rsplit('/').next().unwrap_or(path);
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let numbered = || {
        let (rest, count) = stem.rsplit_once("-of-")?;
        let (model, number) = rest.rsplit_once('-')?;
        let digits = |text: &str| text.len() <= 8 && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(count) || !digits(number) {
            return None;
        }
        Some((model, Some((number.parse().ok()?, count.parse().ok()?))))
    };
    numbered().unwrap_or((stem, None))
}

/// Says which of `1..=count` are missing among the numbered files of one set.
pub(super) fn check_numbers(contents: &mut Contents, files: &[String]) {
    let numbers: Vec<(u64, u64)> = files.iter().filter_map(|file| stem(file).1).collect();
    let Some(&(_, count)) = numbers.first() else { return };
    if numbers.iter().any(|&(_, other)| other != count) {
        let counts: BTreeSet<u64> = numbers.iter().map(|&(_, count)| count).collect();
        contents.warn(WarningKind::Disagreement, "", format!("shards say different numbers of shards: {counts:?}"));
        return;
    }
    let have: BTreeSet<u64> = numbers.iter().map(|&(number, _)| number).collect();
    let missing = count.saturating_sub(have.iter().filter(|number| (1..=count).contains(*number)).count() as u64);
    // GGUF and safetensors count from one; some writers from zero.
    if missing == 1 && have.contains(&0) && !have.contains(&count) {
        return;
    }
    if missing > 0 {
        let first: Vec<String> =
            (1..=count).filter(|number| !have.contains(number)).take(5).map(|number| number.to_string()).collect();
        let more = if missing > 5 { ", …" } else { "" };
        let message = format!("{missing} of {count} shards are missing: {}{more}", first.join(", "));
        contents.warn(WarningKind::Missing, "", message);
    }
}

/// Compares an index (`weight_map`: tensor to file) with the tensors that were found, and says where they differ.
///
/// `folder` is where the index lies; its file names are names in that folder.
pub(super) fn check_index(contents: &mut Contents, path: &str, index: &Value, folder: &str) {
    const MOST: usize = 5;
    let Some(Value::Object(map)) = index.get("weight_map") else {
        contents.warn(WarningKind::Unreadable, path, "the index has no `weight_map`");
        return;
    };
    let here: BTreeMap<&str, BTreeSet<&str>> = contents.tensors.iter().fold(BTreeMap::new(), |mut here, tensor| {
        if let Some((file, _)) = tensor.place() {
            let file = file.strip_prefix(folder).map_or(&**file, |rest| rest.trim_start_matches('/'));
            here.entry(tensor.name.as_str()).or_insert_with(BTreeSet::new).insert(file);
        }
        here
    });
    let (mut missing, mut elsewhere, mut outside) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (name, file) in map {
        let Some(file) = file.as_str() else { continue };
        if file.contains(['/', '\\']) || file == ".." {
            outside.insert(file);
        }
        match here.get(name.as_str()) {
            None => missing.push(name.as_str()),
            Some(files) if !files.contains(file) => elsewhere.push(name.as_str()),
            Some(_) => {}
        }
    }
    let extra: Vec<&str> = here.keys().filter(|name| !map.contains_key(**name)).copied().collect();
    let mut found = Vec::new();
    let list = |names: &[&str]| {
        let first: Vec<String> = names.iter().take(MOST).map(|name| format!("`{}`", name.escape_default())).collect();
        format!("{}{}", first.join(", "), if names.len() > MOST { ", …" } else { "" })
    };
    for (names, kind, what) in [
        (missing, WarningKind::Missing, "tensors of the index are in no shard"),
        (elsewhere, WarningKind::Disagreement, "tensors are in another shard than the index says"),
        (extra, WarningKind::Extra, "tensors are not in the index"),
        (outside.into_iter().collect(), WarningKind::Name, "files of the index are no names in this folder"),
    ] {
        if !names.is_empty() {
            found.push((kind, format!("{} {what}: {}", names.len(), list(&names))));
        }
    }
    for (kind, message) in found {
        contents.warn(kind, path, message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::Dtype;
    use crate::tensor::{Stored, Tensor};

    #[test]
    fn numbered_files_belong_together() {
        assert_eq!(stem("a/model-00001-of-00003.safetensors"), ("model", Some((1, 3))));
        assert_eq!(stem("model.fp16.safetensors"), ("model.fp16", None));
        assert_eq!(stem("x-of-y.bin"), ("x-of-y", None));
        let mut contents = Contents::default();
        check_numbers(&mut contents, &["m-00001-of-00003.bin".to_owned(), "m-00003-of-00003.bin".to_owned()]);
        assert_eq!(contents.warnings[0].message, "1 of 3 shards are missing: 2");
    }

    #[test]
    fn an_index_is_compared_with_what_is_there() {
        let tensor = |name: &str, file: &str| {
            Tensor::plain(name, Dtype::U8, vec![1], Stored::File { file: file.into(), begin: 0, end: 1 })
        };
        let mut contents = Contents {
            tensors: vec![tensor("a", "w/1.st"), tensor("b", "w/1.st"), tensor("d", "w/1.st")],
            ..Contents::default()
        };
        let index = serde_json::json!({"weight_map": {"a": "1.st", "b": "2.st", "c": "../2.st"}});
        check_index(&mut contents, "w/index.json", &index, "w");
        let messages: Vec<&str> = contents.warnings.iter().map(|warning| warning.message.as_str()).collect();
        assert_eq!(
            messages,
            [
                "1 tensors of the index are in no shard: `c`",
                "1 tensors are in another shard than the index says: `b`",
                "1 tensors are not in the index: `d`",
                "1 files of the index are no names in this folder: `../2.st`",
            ]
        );
    }
}
