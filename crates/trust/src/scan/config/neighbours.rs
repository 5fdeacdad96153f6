//! What a file's name and the files beside it say.

use super::super::content::Kind;
use super::super::report::Finding;
use super::super::rules;
use super::super::session::{Item, Session};
use super::super::verdict::Verdict;

/// Compares the ending of a name with what the bytes are.
pub(in crate::scan) fn name(session: &mut Session<'_>, item: &Item, kinds: &[Kind]) {
    let ending = item.ending();
    let has = |kind: Kind| kinds.contains(&kind);
    let acts = kinds.iter().find(|kind| {
        matches!(kind, Kind::Pickle | Kind::Zip | Kind::Elf | Kind::Pe | Kind::MachO | Kind::SevenZip | Kind::Tar)
    });
    let wrong = match ending.as_str() {
        "safetensors" => !has(Kind::Safetensors) && !kinds.is_empty(),
        "gguf" => !has(Kind::Gguf) && !kinds.is_empty(),
        "png" | "jpg" | "jpeg" | "gif" | "webp" | "txt" | "md" | "json" | "yaml" | "yml" | "csv" | "jinja" | "wav"
        | "mp3" => acts.is_some(),
        _ => false,
    };
    if wrong && let Some(kind) = acts.or_else(|| kinds.first()) {
        let detail = format!("its name ends with `.{ending}`, and it can be taken for {}", kind.as_str());
        session.add(item, Finding::of(rules::MASQUERADE, Verdict::Suspicious, detail));
    }
}

/// Whether a file without a format of its own is the data of one beside it.
pub(in crate::scan) fn is_data_of_a_neighbour(session: &Session<'_>, item: &Item) -> bool {
    let path = match &item.member {
        // Raw elements of an archive are known by its layout, or are not known.
        Some(member) => return member.contains("/data/") || member.contains("trailing bytes"),
        None => session.path,
    };
    let folder = session.folder;
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let beside = |name: &str| folder.has(&if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") });
    let prefix = if parent.is_empty() { String::new() } else { format!("{parent}/") };
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    // TensorFlow: `P.data-00000-of-00001` beside `P.index`.
    if let Some((stem, _)) = name.split_once(".data-") {
        return beside(&format!("{stem}.index"));
    }
    if name.contains("tfevents")
        || name.ends_with(".onnx_data")
        || name.ends_with(".onnx.data")
        || name.ends_with(".distcp")
    {
        return true;
    }
    // OpenVINO: `M.bin` beside `M.xml`; ncnn: beside `M.param`.
    if name.ends_with(".bin") && (beside(&format!("{stem}.xml")) || beside(&format!("{stem}.param"))) {
        return true;
    }
    // ONNX keeps large tensors in files of any name beside the model.
    if folder.under(&prefix).iter().take(10_000).any(|file| file.path.ends_with(".onnx")) {
        return true;
    }
    // Orbax, Zarr, Core ML: everything below a folder with a certain file.
    let mut above = parent;
    loop {
        let here = |name: &str| folder.has(&if above.is_empty() { name.to_owned() } else { format!("{above}/{name}") });
        let marks =
            [".zarray", ".zgroup", "zarr.json", "manifest.ocdbt", "_METADATA", "_CHECKPOINT_METADATA", "Manifest.json"];
        if marks.iter().any(|mark| here(mark)) {
            return true;
        }
        match above.rsplit_once('/') {
            Some((parent, _)) => above = parent,
            None if !above.is_empty() => above = "",
            None => return false,
        }
    }
}
