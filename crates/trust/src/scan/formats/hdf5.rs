//! HDF5: other files that it reads, sizes that it claims, and models of Keras in its attributes.

use std::collections::HashSet;

use serde_json::Value;
use weighthouse_format::error::ErrorKind;
use weighthouse_format::h5::{File, Target};
use weighthouse_format::tensor::Stored;
use weighthouse_format::{FormatError, Tensor};

use super::super::config;
use super::super::dispatch;
use super::super::keras;
use super::super::pickle::plain;
use super::super::report::Finding;
use super::super::rules;
use super::super::session::{Item, Role, Session};
use super::super::verdict::Verdict;

/// A dataset that claims this much more than is stored asks for memory.
const CLAIM: (u64, u64) = (1 << 26, 1000);

/// Judges a file.
pub(in crate::scan) fn judge(session: &mut Session<'_>, item: &Item) {
    user_block(session, item);
    if let Err(error) = walk(session, item) {
        session.error(item, rules::UNREADABLE, "its structures cannot be read", &error);
    }
}

/// Judges what stands before the file proper, which readers of HDF5 step over and others begin with.
fn user_block(session: &mut Session<'_>, item: &Item) {
    let mut at = 512;
    let found = |at: u64| item.section.read("HDF5 mark", at, 8).is_ok_and(|mark| mark == *b"\x89HDF\r\n\x1a\n");
    if found(0) {
        return;
    }
    while at < item.section.len() && !found(at) {
        at = at.saturating_mul(2);
    }
    let Ok(section) = item.section.slice("user block", 0, at) else { return };
    if session.member(item) {
        dispatch::judge(session, &item.inner("user block", section, Role::Any));
    }
}

fn walk(session: &mut Session<'_>, item: &Item) -> Result<(), FormatError> {
    let file = File::open(&item.section, &session.limits)?;
    let mut groups = HashSet::new();
    let mut waiting = vec![(String::new(), file.root(), 0u64)];
    while let Some((path, address, depth)) = waiting.pop() {
        if depth > session.limits.depth || !session.member(item) {
            session.limit(item, "its groups are too many or nest too deep");
            return Ok(());
        }
        let object = file.object(address)?;
        for attribute in file.attributes(&object)? {
            if let Value::String(text) = &attribute.value {
                let place = format!("{}/@{}", plain(&path), plain(&attribute.name));
                attribute_text(session, item, text, &place);
            }
        }
        if object.is_dataset() {
            match file.dataset(&object, &path, None) {
                Ok(tensor) => dataset(session, item, &tensor),
                Err(error) if error.kind() == ErrorKind::Unsupported => {}
                Err(error) => return Err(error),
            }
            continue;
        }
        if !groups.insert(address) {
            continue;
        }
        for link in file.links(&object)? {
            let name = if path.is_empty() { link.name } else { format!("{path}/{}", link.name) };
            match link.target {
                Target::Object(address) => waiting.push((name, address, depth + 1)),
                Target::Soft(_) => {}
                Target::External { file, path } => {
                    let detail = format!(
                        "`{}` is `{}` of the file `{}`, which is read",
                        plain(&name),
                        plain(&path),
                        plain(&file)
                    );
                    session.add(item, Finding::of(rules::HDF5_OUTSIDE, Verdict::Unsafe, detail).within(plain(&name)));
                }
            }
        }
    }
    Ok(())
}

/// Models and training of Keras stand in attributes, as JSON.
fn attribute_text(session: &mut Session<'_>, item: &Item, text: &str, place: &str) {
    if text.trim_start().starts_with(['{', '['])
        && let Ok(value) = config::parse(text.as_bytes())
    {
        session.format("keras-h5");
        keras::walk(session, item, &value, place);
    }
}

fn dataset(session: &mut Session<'_>, item: &Item, tensor: &Tensor) {
    let name = plain(&tensor.name);
    if tensor.pieces.is_empty() && tensor.elements() > 0 {
        let detail = format!("`{name}` lies in other files, which are read");
        session.add(item, Finding::of(rules::HDF5_OUTSIDE, Verdict::Unsafe, detail).within(name.clone()));
    }
    let stored = tensor.pieces.iter().fold(0u64, |sum, piece| match &piece.stored {
        Stored::File { begin, end, .. } => sum.saturating_add(end.saturating_sub(*begin)),
        _ => sum.saturating_add(64),
    });
    let claimed = tensor.size_bytes();
    if claimed > CLAIM.0 && claimed / CLAIM.1 > stored.max(1) {
        let detail = format!("`{name}` claims {claimed} bytes, and {stored} are stored");
        session.add(item, Finding::of(rules::HDF5_SHAPE, Verdict::Suspicious, detail).within(name));
    }
}
