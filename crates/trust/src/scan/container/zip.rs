//! Zip archives, as every reader would see them.

use weighthouse_format::contents::WarningKind;
use weighthouse_format::zip::{Archive, Member, crc};
use weighthouse_format::{FormatError, Section};

use super::super::budget::take;
use super::super::dispatch;
use super::super::pickle::plain;
use super::super::report::Finding;
use super::super::rules;
use super::super::session::{Item, Role, Session};
use super::super::verdict::{Severity, Verdict};
use super::layout::Layout;

/// Longest member whose checksum is compared: those that could be programs.
const SUMMED_BYTES: u64 = 16 << 20;
/// Ratio and size from which a member is a bomb.
const BOMB: (u64, u64) = (200, 64 << 20);
/// Longest gap between members that alignment explains.
const GAP_BYTES: u64 = 1 << 16;

/// Where the first member of the archive begins that the section is; `None` when it is none.
pub(in crate::scan) fn begin(session: &Session<'_>, item: &Item) -> Option<u64> {
    let archive = Archive::read(&item.section, &session.limits).ok()?;
    archive.entries().iter().map(|entry| entry.header).min()
}

/// Judges an archive; `alone` when the bytes can be taken for nothing else.
pub(in crate::scan) fn judge(session: &mut Session<'_>, item: &Item, alone: bool) {
    let mut archive = match Archive::read(&item.section, &session.limits) {
        Ok(archive) => archive,
        Err(error) => {
            session.error(item, rules::ARCHIVE_BROKEN, "the archive cannot be read", &error);
            return;
        }
    };
    let layout = Layout::of(&archive);
    session.format(layout.as_str());
    layout.judge(session, item, &archive);
    let mut roles = layout.roles(&archive);
    let mut spans = Vec::new();
    let names: Vec<String> = archive.entries().iter().map(|entry| entry.name.clone()).collect();
    for (index, name) in names.iter().enumerate() {
        if !session.member(item) {
            break;
        }
        let entry = archive.entries().get(index).cloned();
        let Some(entry) = entry else { break };
        match archive.open_unlocked(index) {
            Ok(member) => {
                let begin = entry.header;
                let end = member.stored.begin() - item.section.begin() + member.stored.len();
                spans.push((begin, end, entry.flags & 0x8 != 0));
                // The last of equal names is the one that the layout means.
                let role = match archive.find(name) == Some(index) {
                    true => roles.remove(name).unwrap_or_default(),
                    false => Role::Any,
                };
                if !name.ends_with('/') || member.size_bytes > 0 {
                    open(session, item, member, role);
                }
            }
            Err(error) => {
                let inner = item.inner(&plain(name), Section::of_bytes(session.path, []), Role::Any);
                session.error(&inner, rules::ARCHIVE_BROKEN, "the member cannot be read", &error);
            }
        }
    }
    if alone {
        before(session, item, &spans);
    }
    gaps(session, item, spans);
    archive.check();
    warnings(session, item, &mut archive, alone);
}

/// Unpacks a member and judges it.
fn open(session: &mut Session<'_>, item: &Item, mut member: Member, role: Role) {
    let name = plain(&member.name);
    let announced = member.crc;
    // Loaders that do not compare checksums load it all the same.
    member.crc = 0;
    let limits = session.unpacking();
    let unpacked = match member.method {
        0 if member.stored.len() == member.size_bytes => Ok(member.stored.clone()),
        // Readers differ in which of the two sizes they take: the longer is looked at.
        0 => {
            let detail =
                format!("it is stored in {} bytes and announced with {}", member.stored.len(), member.size_bytes);
            let inner = item.inner(&name, member.stored.clone(), Role::Any);
            session.add(&inner, Finding::of(rules::ARCHIVE_MISMATCH, Verdict::Suspicious, detail));
            Ok(member.stored.clone())
        }
        _ => member.unpacked(&limits),
    };
    let section = match unpacked {
        Ok(section) => section,
        Err(error) => {
            let inner = item.inner(&name, Section::of_bytes(session.path, []), Role::Any);
            if let FormatError::TooLarge { what: "compression ratio of a zip member", .. } = error {
                let detail = format!("{} bytes unpack to {}", member.stored.len(), member.size_bytes);
                session.add(&inner, Finding::of(rules::ARCHIVE_BOMB, Verdict::Suspicious, detail));
            }
            session.error(&inner, rules::ARCHIVE_BROKEN, "the member cannot be unpacked", &error);
            return;
        }
    };
    let inner = item.inner(&name, section, role);
    if member.method != 0 {
        let size = inner.section.len();
        if !take(&mut session.budget.unpacked_bytes, size) {
            return session.limit(&inner, "the archive unpacks to too much");
        }
        if size > BOMB.1 && size / member.stored.len().max(1) > BOMB.0 {
            let detail = format!("{} bytes unpack to {size}", member.stored.len());
            session.add(&inner, Finding::of(rules::ARCHIVE_BOMB, Verdict::Suspicious, detail));
        }
    }
    let summed = !matches!(inner.role, Role::Elements) && inner.section.len() <= SUMMED_BYTES;
    if announced != 0 && summed && take(&mut session.budget.parsed_bytes, inner.section.len()) {
        let read = inner.section.read("zip member", 0, inner.section.len());
        if read.is_ok_and(|bytes| crc(&bytes) != announced) {
            let detail = "its checksum is wrong: some loaders stop there, others load it";
            session.add(&inner, Finding::of(rules::ARCHIVE_MISMATCH, Verdict::Suspicious, detail));
        }
    }
    dispatch::judge(session, &inner);
}

/// Bytes before the first member: another archive, or whatever a reader takes that begins at the front.
fn before(session: &mut Session<'_>, item: &Item, spans: &[(u64, u64, bool)]) {
    let len = spans.iter().map(|span| span.0).min().unwrap_or(0);
    if len > 0 {
        hidden(session, item, 0, len);
    }
}

/// Bytes between members: whoever walks the local headers finds what the directory does not list.
fn gaps(session: &mut Session<'_>, item: &Item, mut spans: Vec<(u64, u64, bool)>) {
    spans.sort_unstable();
    let (mut end, mut room) = (spans.first().map_or(0, |span| span.0), 0);
    for (begin, span_end, late) in spans {
        let gap = begin.saturating_sub(end);
        if gap > room {
            hidden(session, item, end, gap);
        }
        end = end.max(span_end);
        // Sizes after the data take up to 24 bytes.
        room = if late { 24 } else { 0 };
    }
}

/// Judges bytes of no member.
fn hidden(session: &mut Session<'_>, item: &Item, at: u64, len: u64) {
    let Ok(section) = item.section.slice("bytes of no member", at, len) else { return };
    let zeros = len <= GAP_BYTES
        && section.read("bytes of no member", 0, len).is_ok_and(|bytes| bytes.iter().all(|&byte| byte == 0));
    if zeros || !session.member(item) {
        return;
    }
    let detail = format!("{len} bytes at {at} belong to no member of the directory");
    session.add(item, Finding::of(rules::ARCHIVE_HIDDEN, Verdict::Suspicious, detail).at(at));
    let mut inner = item.inner("bytes of no member", section.clone(), Role::Any);
    // A local header that the directory does not list: its content is what a walker of headers would load.
    if let Ok(header) = section.head("local header", 30)
        && header.starts_with(b"PK\x03\x04")
    {
        let short =
            |at: usize| header.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |&two| u16::from_le_bytes(two));
        let begin = 30 + u64::from(short(26)) + u64::from(short(28));
        if short(8) == 0
            && let Ok(content) = section.slice("hidden member", begin, len.saturating_sub(begin))
        {
            inner.section = content;
        }
    }
    dispatch::judge(session, &inner);
}

/// What the reader of archives found odd.
fn warnings(session: &mut Session<'_>, item: &Item, archive: &mut Archive, alone: bool) {
    let whole = item.section.file().to_string();
    for warning in archive.take_warnings() {
        let member = warning.file.strip_prefix(&whole).and_then(|rest| rest.strip_prefix('!'));
        let place = match member {
            Some(member) => item.inner(&plain(member), item.section.clone(), Role::Any),
            None => item.clone(),
        };
        let message = plain(&warning.message).replace("\\u{60}", "`");
        let (rule, verdict) = match warning.kind {
            WarningKind::Duplicate => (rules::ARCHIVE_DUPLICATE, Verdict::Suspicious),
            WarningKind::Name => (rules::ARCHIVE_NAME, Verdict::Suspicious),
            WarningKind::Disagreement => (rules::ARCHIVE_MISMATCH, Verdict::Suspicious),
            WarningKind::Unreadable => (rules::ARCHIVE_BROKEN, Verdict::Error),
            WarningKind::Other if message.contains("comment") => continue,
            WarningKind::Other if message.contains("symbolic") => (rules::ARCHIVE_LINK, Verdict::Suspicious),
            WarningKind::Other if message.contains("flags") => (rules::ARCHIVE_LOCKED, Verdict::Suspicious),
            WarningKind::Other => (rules::ARCHIVE_MISMATCH, Verdict::Caution),
            // Judged with what is in those bytes.
            WarningKind::Extra if message.contains("before it") => continue,
            // What stands before and after the archive is another format's, and judged as that.
            WarningKind::Polyglot | WarningKind::Extra if !alone && member.is_none() => continue,
            _ => (rules::ARCHIVE_HIDDEN, Verdict::Suspicious),
        };
        session.add(&place, Finding::of(rule, verdict, message).weighing(Severity::of(verdict)));
    }
}
