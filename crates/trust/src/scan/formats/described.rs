//! Formats whose readers say what would run, and binary formats without a mark.

use weighthouse_format::contents::Code;
use weighthouse_format::protobuf::{Message, Value};
use weighthouse_format::{Format, FormatError, checkpoint, tflite as reader};

use super::super::content::Kind;
use super::super::pickle::plain;
use super::super::report::Finding;
use super::super::rules;
use super::super::session::{Item, Session};
use super::super::verdict::Verdict;
use super::tensorflow::Part;
use super::{onnx, tensorflow};

/// Judges a TFLite model.
pub(in crate::scan) fn tflite(session: &mut Session<'_>, item: &Item) {
    match reader::read(&item.section, &session.limits) {
        Ok(contents) => operators(session, item, &contents.code),
        Err(error) => session.error(item, rules::UNREADABLE, "the model cannot be read", &error),
    }
}

fn operators(session: &mut Session<'_>, item: &Item, code: &[Code]) {
    for code in code.iter().take(100) {
        let name = plain(&code.name);
        let flex = code.name.strip_prefix("Flex");
        let acts = flex.is_some_and(|name| {
            matches!(name, "ReadFile" | "WriteFile" | "PyFunc" | "EagerPyFunc" | "PyFuncStateless" | "MatchingFiles")
        });
        let (rule, verdict, detail) = match acts {
            true => (
                rules::TF_OPERATOR,
                Verdict::Unsafe,
                format!("operator `{name}` reads or writes files, or runs Python"),
            ),
            false => (
                rules::CUSTOM_OPERATOR,
                Verdict::Caution,
                format!("needs the operator `{name}`, which the runtime does not have itself"),
            ),
        };
        session.add(item, Finding::of(rule, verdict, detail));
    }
}

/// Judges a file of a format whose reader knows everything that it can do.
pub(in crate::scan) fn described(session: &mut Session<'_>, item: &Item, name: &'static str) {
    if item.member.is_some() {
        return;
    }
    match checkpoint::read_file(session.folder, session.path, &session.limits) {
        Ok(found) => operators(session, item, &found.contents.code),
        // Data that another file describes cannot be read by itself.
        Err(FormatError::NoFile { .. } | FormatError::Unsupported { .. }) => {}
        Err(error) => session.error(item, rules::UNREADABLE, &format!("the {name} file cannot be read"), &error),
    }
}

/// As [`described`], by its mark.
pub(in crate::scan) fn judge(session: &mut Session<'_>, item: &Item, kind: Kind) {
    if matches!(kind, Kind::Ggml | Kind::Inert("executorch" | "litertlm")) {
        described(session, item, kind.as_str());
    }
}

/// Judges binary bytes without a mark; answers whether they are of a format that is known.
pub(in crate::scan) fn protobuf(session: &mut Session<'_>, item: &Item, head: &[u8]) -> bool {
    let ending = item.ending();
    let sniffed = checkpoint::sniff(&item.section, &session.limits).unwrap_or_default();
    let outcome = if ending == "onnx" || sniffed.contains(&Format::Onnx) {
        session.format("onnx");
        onnx::judge(session, item)
    } else if item.name() == "keras_metadata.pb" {
        tensorflow::keras_metadata(session, item)
    } else if let Some(part) = graph(item, &ending, &sniffed) {
        session.format("tensorflow-graph");
        tensorflow::judge(session, item, part)
    } else if let Some(format) = sniffed.first() {
        session.format(format.as_str());
        if matches!(format, Format::CoreMl | Format::Flax | Format::Paddle | Format::XgBoost) {
            described(session, item, format.as_str());
        }
        return true;
    } else {
        return is_vocabulary(item, head);
    };
    match outcome {
        Ok(()) => true,
        // A name alone makes no format, but a loader goes by the name.
        Err(error) => {
            session.error(item, rules::UNREADABLE, "it cannot be read to its end", &error);
            true
        }
    }
}

/// What kind of graph it is, if it is one.
fn graph(item: &Item, ending: &str, sniffed: &[Format]) -> Option<Part> {
    if sniffed.contains(&Format::SavedModel) || item.name() == "saved_model.pb" {
        return Some(Part::SavedModel);
    }
    if ending == "meta" {
        return Some(Part::MetaGraph);
    }
    if ending != "pb" {
        return None;
    }
    // A frozen graph has nodes: messages with a name and an operator.
    let first = Message::new(item.section.clone()).fields("graph").ok()?.next()?.ok()?;
    match (first.number, first.value) {
        (1, Value::Bytes(_)) => Some(Part::Graph),
        (1, Value::Varint(_)) => Some(Part::SavedModel),
        _ => None,
    }
}

/// A vocabulary of SentencePiece: messages with a text and a score.
fn is_vocabulary(item: &Item, head: &[u8]) -> bool {
    if head.first() != Some(&0x0a) {
        return false;
    }
    let Ok(fields) = Message::new(item.section.clone()).fields("vocabulary") else { return false };
    let mut pieces = 0;
    for field in fields.take(20) {
        let Ok(field) = field else { return false };
        let (1, Value::Bytes(piece)) = (field.number, &field.value) else { return pieces > 2 };
        let parts = piece.fields("piece").map(|fields| {
            fields
                .map(|field| field.map(|field| (field.number, matches!(field.value, Value::Fixed32(_)))))
                .collect::<Result<Vec<_>, _>>()
        });
        match parts {
            Ok(Ok(parts)) if parts.contains(&(2, true)) => pieces += 1,
            _ => return false,
        }
    }
    pieces > 2
}
