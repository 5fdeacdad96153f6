//! Which judges a file goes to: all that it concerns.

use weighthouse_format::compressed::{self, Compressor, Unpacked};

use super::budget::{MAX_DEPTH, take};
use super::content::{self, HEAD_BYTES, Kind};
use super::report::Finding;
use super::rules;
use super::session::{Item, Role, Session};
use super::verdict::{Confidence, Severity, Verdict};
use super::{config, container, formats, pickle, program, text};

/// Endings of files that loaders give to an unpickler.
const PICKLED: &[&str] = &["pkl", "pickle", "pt", "pth", "ckpt", "joblib", "dill", "pdparams", "pdopt"];

/// Judges bytes as everything that they can be taken for.
pub(super) fn judge(session: &mut Session<'_>, item: &Item) {
    if item.depth > MAX_DEPTH {
        session.limit(item, format!("archives lie in archives, more than {MAX_DEPTH} levels deep"));
        return;
    }
    let head = match item.section.head("the first bytes of a file", HEAD_BYTES) {
        Ok(head) => head,
        Err(error) => return session.error(item, rules::UNREADABLE, "the first bytes", &error),
    };
    match &item.role {
        Role::Elements => {
            if content::is_loud(&head) {
                let detail = "what lies in the place of a tensor is a file of another kind";
                session.add(item, Finding::of(rules::MASQUERADE, Verdict::Suspicious, detail));
                let item = Item { role: Role::Any, ..item.clone() };
                judge_any(session, &item, &head);
            }
        }
        Role::Torch(_) | Role::Script(_) | Role::Pickle => _ = pickle::judge(session, item),
        Role::ScriptSource => container::script_source(session, item),
        Role::Any => judge_any(session, item, &head),
    }
}

fn judge_any(session: &mut Session<'_>, item: &Item, head: &[u8]) {
    if head.is_empty() {
        return;
    }
    if item.member.is_none() && item.ending() == "distcp" && container::dcp(session, item) {
        return;
    }
    let limits = session.limits;
    let kinds = content::kinds(&item.section, head, &limits);
    for kind in &kinds {
        session.format(kind.as_str());
    }
    let mut known = !kinds.is_empty();
    // Pickles and tars first: a zip may lie within what they hold.
    let mut inside_end = None;
    for kind in kinds.iter().filter(|kind| **kind != Kind::Zip) {
        match kind {
            Kind::Pickle => inside_end = inside_end.max(Some(pickle::judge(session, item))),
            Kind::Tar => inside_end = inside_end.max(Some(container::tar(session, item))),
            Kind::Compressed(compressor) => known &= stream(session, item, *compressor, kinds.len() > 1),
            Kind::SevenZip | Kind::Rar => container::sealed(session, item, kind.as_str()),
            Kind::Npy => formats::npy(session, item),
            Kind::Hdf5 => formats::hdf5(session, item),
            Kind::Gguf => formats::gguf(session, item),
            Kind::Safetensors => formats::safetensors(session, item),
            Kind::Tflite => formats::tflite(session, item),
            Kind::Elf | Kind::Pe | Kind::MachO | Kind::JavaClass | Kind::Wasm | Kind::Pdf => {
                program::native(session, item, *kind);
            }
            Kind::Ggml | Kind::LevelDb | Kind::Inert(_) => formats::described(session, item, *kind),
            Kind::Zip => {}
        }
    }
    let mut real = kinds.clone();
    if kinds.contains(&Kind::Zip) {
        let begin = container::zip_begin(session, item);
        let within = begin.zip(inside_end).is_some_and(|(begin, end)| begin < end);
        // Members of a tar are judged as such; TFLite has associated files appended as a zip.
        if !(within && kinds.contains(&Kind::Tar)) {
            container::zip(session, item, kinds.len() == 1);
        }
        if within || kinds.contains(&Kind::Tflite) {
            real.retain(|kind| *kind != Kind::Zip);
        }
    }
    polyglot(session, item, real);
    if kinds.is_empty() && wide_text(session, item, head) {
        known = true;
    } else if kinds.is_empty() {
        // Short messages may look like text.
        let named = matches!(item.ending().as_str(), "pb" | "onnx" | "meta");
        known = if named || content::is_binary(head) {
            formats::protobuf(session, item, head)
        } else {
            text::judge(session, item, head);
            true
        };
    } else if !content::is_binary(head) {
        // Text that can be taken for something else is still text.
        text::judge(session, item, head);
    }
    if !known {
        unknown(session, item);
    }
    config::name(session, item, &kinds);
}

/// Judges text of UTF-16 and UTF-32, which Python reads too; answers whether it is some.
fn wide_text(session: &mut Session<'_>, item: &Item, head: &[u8]) -> bool {
    if config::utf8(head).is_none() {
        return false;
    }
    let Some(bytes) = session.parsed(item, "text") else { return true };
    let Some(text) = config::utf8(&bytes) else { return false };
    let section = weighthouse_format::Section::of_bytes(&**item.section.file(), text.into_owned());
    let head = section.head("text", HEAD_BYTES).unwrap_or_default();
    text::judge(session, &Item { section: section.clone(), ..item.clone() }, &head);
    true
}

/// More than one format in a file, none of which is known to carry the other.
fn polyglot(session: &mut Session<'_>, item: &Item, mut kinds: Vec<Kind>) {
    // Marks of zlib, of lzma, of fonts and of sound are short.
    kinds.retain(|kind| !matches!(kind, Kind::Inert(_) | Kind::Compressed(Compressor::Zlib | Compressor::Lzma)));
    if kinds.len() > 1 {
        let names: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
        let detail = format!("programs may take it for {}", names.join(" or for "));
        session.add(item, Finding::of(rules::POLYGLOT, Verdict::Suspicious, detail));
    }
}

/// Unpacks a compressed stream and judges what is in it; answers whether it is one.
fn stream(session: &mut Session<'_>, item: &Item, compressor: Compressor, doubtful: bool) -> bool {
    // Two bytes make no zlib stream, and a few zeros none of lzma.
    let short = matches!(compressor, Compressor::Zlib | Compressor::Lzma);
    let Unpacked { section, rest, error } = match compressed::unpack(&item.section, compressor, &session.unpacking()) {
        Ok(found) => found,
        Err(error) => {
            session.error(item, rules::ARCHIVE_BROKEN, "it cannot be unpacked", &error);
            return true;
        }
    };
    if !take(&mut session.budget.unpacked_bytes, section.len()) || !session.member(item) {
        session.limit(item, "it unpacks to too much");
        return true;
    }
    let name = item.name();
    let name = name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_owned();
    let inner = item.inner(&name, section, Role::Any);
    if let Some(error) = error {
        let too_large = matches!(error, weighthouse_format::FormatError::TooLarge { .. });
        // Loaders run a pickle while its stream is decoded: what stands before the damage has run by then.
        let head = inner.section.head("the first bytes of a stream", HEAD_BYTES).unwrap_or_default();
        let runs = content::is_pickle(&inner.section, &head, &session.limits);
        if runs {
            pickle::judge(session, &inner);
        } else if short && doubtful {
            return true;
        } else if short && !too_large {
            return false;
        }
        session.error(item, rules::ARCHIVE_BROKEN, "it cannot be unpacked", &error);
        return true;
    }
    if rest > 0 {
        let detail = format!("{rest} bytes follow the compressed stream");
        // Chunks of arrays have checksums behind their streams.
        let verdict = match compressor {
            _ if config::is_data_of_a_neighbour(session, item) => Verdict::Safe,
            Compressor::Zlib => Verdict::Caution,
            _ => Verdict::Suspicious,
        };
        session.add(item, Finding::of(rules::TRAILING, verdict, detail));
    }
    judge(session, &inner);
    true
}

/// Bytes of no known format.
fn unknown(session: &mut Session<'_>, item: &Item) {
    session.format("unknown");
    if PICKLED.contains(&item.ending().as_str()) {
        let detail = "its name says that it is unpickled, and the bytes are of no known format";
        session.add(item, Finding::of(rules::UNREADABLE, Verdict::Error, detail));
    } else if !config::is_data_of_a_neighbour(session, item) {
        let detail = "the bytes are of no known format; nothing in them was found that a loader would run";
        let finding = Finding::of(rules::UNKNOWN_CONTENT, Verdict::Caution, detail);
        session.add(item, finding.sure(Confidence::Possible).weighing(Severity::Info));
    }
}
