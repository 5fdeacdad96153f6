//! Zips of npy files.

use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

use super::npy::{Header, Origin, header_end};
use crate::contents::{Contents, WarningKind};
use crate::error::{ErrorKind, FormatError};
use crate::identity::Format;
use crate::limits::Limits;
use crate::source::Section;
use crate::zip::{Archive, Member};

/// Bytes of a compressed member that are looked at for its header, before and after decompression.
const HEAD: u64 = 1 << 14;

/// Reads an npz file: the header of each member, and where its elements lie.
///
/// Arrays of types that are not known are left out with a warning.
///
/// # Errors
/// Those of [`Archive::read`] and of [`super::read_npy`], with the member they are in; [`FormatError::Truncated`] for
/// members that are shorter than their array.
pub fn read_npz(section: &Section, limits: &Limits) -> Result<Contents, FormatError> {
    let mut archive = Archive::read(section, limits)?;
    let mut contents = Contents::of(Format::Npz);
    for index in 0..archive.entries().len() {
        let Some(entry) = archive.entries().get(index).map(|entry| entry.name.clone()) else { continue };
        // As Python does, the last of equal names counts.
        if archive.find(&entry) != Some(index) {
            continue;
        }
        let file = format!("{}!{entry}", section.file());
        let Some(name) = entry.strip_suffix(".npy") else {
            contents.warn(WarningKind::Extra, file, "this member is no npy file");
            continue;
        };
        Limits::at_most("number of tensors", contents.tensors.len() as u64 + 1, limits.tensors)?;
        let read = archive.open(index).and_then(|member| read_member(&member, name, &file, limits, &mut contents));
        match read {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                contents.warn(WarningKind::Unreadable, file, error.to_string());
            }
            Err(error) => return Err(error.in_file(&file)),
        }
    }
    contents.warnings.extend(archive.take_warnings());
    Ok(contents)
}

fn read_member(
    member: &Member,
    name: &str,
    file: &str,
    limits: &Limits,
    contents: &mut Contents,
) -> Result<(), FormatError> {
    let (stored, filters) = member.place()?;
    let header = Header::parse(&head(member, limits)?, name, limits)?;
    let end = header.data.saturating_add(header.len);
    if header.has_objects() {
        // What follows is a pickle, of any length.
    } else if member.size_bytes < end {
        return Err(FormatError::Truncated {
            what: "npy elements",
            needed: header.len,
            got: member.size_bytes.saturating_sub(header.data),
        });
    } else if member.size_bytes > end {
        let message = format!("{} bytes follow the array", member.size_bytes - end);
        contents.warn(WarningKind::Extra, file, message);
    }
    let origin = if filters.is_empty() && !header.has_objects() {
        Origin { stored: member.stored.stored("npy elements", header.data, header.len)?, filters, skip: 0 }
    } else {
        Origin { stored, filters, skip: header.data }
    };
    header.describe(name, file, &origin, contents);
    Ok(())
}

/// The first bytes of a member, its whole header among them.
fn head(member: &Member, limits: &Limits) -> Result<Vec<u8>, FormatError> {
    if member.method == 0 {
        let prefix = member.stored.head("npy file", 12)?;
        return member.stored.head("npy header", header_end(&prefix, limits)?);
    }
    let compressed = member.stored.head("npy file", HEAD)?;
    let mut out = vec![0; HEAD as usize];
    let flags = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    let (_, _, len) = decompress(&mut DecompressorOxide::new(), &compressed, &mut out, 0, flags);
    out.truncate(len);
    let known = header_end(&out, limits).is_ok_and(|end| end <= out.len() as u64);
    // Few headers are longer; the member is unpacked for them.
    if known { Ok(out) } else { member.bytes(limits) }
}
