//! PyTorch checkpoints: files of `torch.save` old and new, TorchScript, exported programs, and folders of parts.
//!
//! Everything begins with a pickle, which [`crate::pickle`] reads without running it. Calls that would rebuild tensors are
//! understood from their arguments; the tree around them is searched for the model by its shape, not by one key.

mod allow;
mod archive;
mod assemble;
mod bare;
mod compressed;
pub mod dcp;
pub mod dcp_write;
pub mod deepspeed;
mod dtype;
mod flatten;
pub mod fsdp;
mod id;
mod json;
mod layout;
mod legacy;
mod loaded;
pub mod megatron;
mod model;
mod numpy;
mod optim;
mod pieces;
mod pt2;
mod ranks;
mod sb3;
mod script;
pub mod state;
mod storages;
mod strided;
mod tree;
mod universal;
mod values;
pub mod write;

pub use allow::is_data_name;
pub(crate) use compressed::behind as move_behind;
pub use optim::name_parameters;

use crate::contents::Contents;
use crate::error::FormatError;
use crate::limits::Limits;
use crate::source::Section;
use crate::zip::Archive;

/// Reads one file: a torch zip, a legacy stream, TorchScript, an exported program, a pickle, or a zip of
/// stable-baselines3.
///
/// # Errors
/// [`FormatError::BadMagic`] when it is none of these, [`FormatError::Unsupported`] for torch's oldest tar and for other
/// zip archives, and whatever is wrong with the container. A single tensor that cannot be described is a warning.
pub fn read(section: &Section, limits: &Limits) -> Result<Contents, FormatError> {
    const WHAT: &str = "torch file";
    let head = section.head(WHAT, 4)?;
    if head == b"PK\x03\x04" {
        return read_zip(section, Archive::read(section, limits)?, limits);
    }
    if is_tar(section)? {
        let detail = "a tar of PyTorch before 0.1.10; load it with that version, and save it again".to_owned();
        return Err(FormatError::Unsupported { what: WHAT, detail });
    }
    if legacy::is(section, limits) {
        let loaded = legacy::load(section, limits)?;
        return assemble::contents(loaded, crate::identity::Format::TorchLegacy);
    }
    // A zip with something before it: torch refuses it, Python's reader does not.
    if let Ok(archive) = Archive::read(section, limits) {
        return read_zip(section, archive, limits);
    }
    bare::read(section, limits)
}

fn read_zip(section: &Section, archive: Archive, limits: &Limits) -> Result<Contents, FormatError> {
    if archive.find("_stable_baselines3_version").is_some() {
        return sb3::read(section, archive, limits);
    }
    if pt2::is(&archive) {
        return pt2::read(section, archive, limits);
    }
    if let Some(folder) = archive::folder_of(&archive, "data.pkl") {
        let program = format!("{folder}/code/");
        let is_script = archive.find(&format!("{folder}/constants.pkl")).is_some()
            || archive.entries().iter().any(|entry| entry.name.starts_with(&program));
        return match is_script {
            true => script::read(section, archive, &folder, limits),
            false => archive::read(section, archive, &folder, limits),
        };
    }
    Err(FormatError::Unsupported { what: "zip archive", detail: "it has no `data.pkl` in a folder".to_owned() })
}

/// Whether it is a tar with the members of torch's oldest format.
fn is_tar(section: &Section) -> Result<bool, FormatError> {
    let head = section.head("tar", 512)?;
    let name: Vec<u8> = head.iter().copied().take_while(|&byte| byte != 0).collect();
    let known = [&b"sys_info"[..], b"pickle", b"storages", b"tensors", b"./sys_info"];
    Ok(head.len() == 512 && head.get(257..262) == Some(b"ustar") || known.contains(&name.as_slice()))
}

#[cfg(test)]
mod tests;
