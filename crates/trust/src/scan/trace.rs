//! The program of a pickle in words, around what was found: which opcodes lead to a call.
//!
//! The opcodes are told again by the machine's rules, and nothing is run.

use std::fmt::Write;

use weighthouse_format::pickle::ops;
use weighthouse_format::{Folder, Limits, Section};

use super::pickle::plain;
use super::report::Finding;

/// Opcodes that are shown before the one with the finding.
const BEFORE: usize = 12;
/// Opcodes that are shown after it.
const AFTER: usize = 3;
/// Farthest place in a pickle that is told.
const MAX_BYTES: u64 = 64 << 20;

/// A line of a disassembly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Offset in the section.
    pub at: u64,
    /// Name of the opcode.
    pub opcode: &'static str,
    /// Its argument, in words.
    pub argument: String,
    /// Whether the finding stands here.
    pub here: bool,
}

/// The opcodes around a finding in a pickle that lies in a file, or stored in a zip of it; `None` when there is nothing
/// to tell.
#[must_use]
pub fn around(folder: &dyn Folder, finding: &Finding, limits: &Limits) -> Option<Vec<Line>> {
    let (at, _) = (finding.offset?, finding.op?);
    let file = folder.open(&finding.file).ok()?;
    let section = match &finding.member {
        None => file,
        Some(member) => open(&file, member, limits)?,
    };
    lines(&section, at)
}

/// The member of an archive, level by level.
fn open(file: &Section, member: &str, limits: &Limits) -> Option<Section> {
    let mut section = file.clone();
    for name in member.split('!') {
        let mut archive = weighthouse_format::zip::Archive::read(&section, limits).ok()?;
        let index = archive.entries().iter().position(|entry| plain(&entry.name) == name)?;
        let mut member = archive.open_unlocked(index).ok()?;
        member.crc = 0;
        section = member.unpacked(limits).ok()?;
    }
    Some(section)
}

/// Tells the opcodes from the beginning of the pickle that `at` lies in, and keeps those around it.
fn lines(section: &Section, at: u64) -> Option<Vec<Line>> {
    if at > MAX_BYTES {
        return None;
    }
    let bytes = section.head("pickle", (at + (64 << 10)).min(section.len())).ok()?;
    let mut found: Vec<Line> = Vec::new();
    let mut place = 0usize;
    let mut after = 0;
    while let Some(&byte) = bytes.get(place) {
        let opcode = ops::name(byte)?;
        let rest = bytes.get(place + 1..).unwrap_or_default();
        let (argument, used) = argument(opcode, rest)?;
        let here = place as u64 == at;
        found.push(Line { at: place as u64, opcode, argument, here });
        if here || after > 0 {
            after += 1;
        } else if found.len() > BEFORE {
            found.remove(0);
        }
        if after > AFTER || (after > 0 && opcode == "STOP") {
            return Some(found);
        }
        place += 1 + used;
    }
    (after > 0).then_some(found)
}

/// The argument of an opcode in words, and its length.
fn argument(opcode: &str, rest: &[u8]) -> Option<(String, usize)> {
    let number = |width: usize| -> Option<u64> {
        let bytes = rest.get(..width)?;
        Some(bytes.iter().rev().fold(0u64, |value, &byte| value << 8 | u64::from(byte)))
    };
    let line = |from: usize| -> Option<(String, usize)> {
        let end = rest.get(from..)?.iter().position(|&byte| byte == b'\n')?;
        Some((text(rest.get(from..from + end)?), from + end + 1))
    };
    let counted = |width: usize| -> Option<(String, usize)> {
        let len = usize::try_from(number(width)?).ok()?;
        let end = width.checked_add(len)?;
        let shown = rest.get(width..end.min(rest.len()))?;
        Some((format!("'{}'", text(shown)), end))
    };
    Some(match opcode {
        "PROTO" | "BININT1" | "BINPUT" | "BINGET" | "EXT1" => (number(1)?.to_string(), 1),
        "BININT2" | "EXT2" => (number(2)?.to_string(), 2),
        "BININT" | "LONG_BINPUT" | "LONG_BINGET" | "EXT4" => (number(4)?.to_string(), 4),
        "FRAME" => (number(8)?.to_string(), 8),
        "BINFLOAT" => {
            let bytes: [u8; 8] = *rest.first_chunk()?;
            (f64::from_be_bytes(bytes).to_string(), 8)
        }
        "SHORT_BINSTRING" | "SHORT_BINUNICODE" | "SHORT_BINBYTES" | "LONG1" => counted(1)?,
        "BINSTRING" | "BINUNICODE" | "BINBYTES" | "LONG4" => counted(4)?,
        "BINUNICODE8" | "BINBYTES8" | "BYTEARRAY8" => counted(8)?,
        "INT" | "LONG" | "FLOAT" | "STRING" | "UNICODE" | "GET" | "PUT" | "PERSID" => line(0)?,
        "GLOBAL" | "INST" => {
            let (module, used) = line(0)?;
            let (name, end) = line(used)?;
            (format!("{module}.{name}"), end)
        }
        _ => (String::new(), 0),
    })
}

fn text(bytes: &[u8]) -> String {
    let shown = bytes.get(..bytes.len().min(100)).unwrap_or_default();
    let mut out = plain(&String::from_utf8_lossy(shown));
    if bytes.len() > 100 {
        let _ = write!(out, "… {} bytes", bytes.len());
    }
    out
}
