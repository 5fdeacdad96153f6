//! Tensors whose bytes lie in other files.
//!
//! The model names a file, and people have named `/etc/passwd` (CVE-2022-25882, CVE-2024-5187, CVE-2024-27318). A
//! location is taken only when it stays below the folder of the model, whatever the name does on some system.

use crate::error::FormatError;
use crate::limits::Limits;
use crate::protobuf::{Message, broken};
use crate::source::{Folder, Section};

/// Where a tensor's bytes lie, as the model says.
#[derive(Debug, Default)]
pub(super) struct External {
    location: Option<String>,
    offset: u64,
    length: Option<u64>,
}

impl External {
    /// Takes one entry of `external_data`.
    pub(super) fn take(&mut self, message: &Message, limits: &Limits) -> Result<(), FormatError> {
        let (key, value) = entry(message, limits)?;
        let at = message.section().begin();
        let number = |text: &str| {
            text.parse().map_err(|_| broken("onnx external data", at, format!("{key} `{text}` is no number")))
        };
        match key.as_str() {
            "location" => self.location = Some(value),
            "offset" => self.offset = number(&value)?,
            "length" => self.length = Some(number(&value)?),
            // A checksum of the file is optional, and nothing reads it.
            _ => {}
        }
        Ok(())
    }

    /// The bytes, in a file of the folder; `Err` of the inner kind is the path of a file that is not there.
    pub(super) fn open(
        &self,
        folder: &dyn Folder,
        model: &str,
        at: u64,
    ) -> Result<Result<Section, String>, FormatError> {
        let location = self.location.as_deref();
        let location = location.ok_or_else(|| broken("onnx external data", at, "there is no location"))?;
        let below = inside(location)
            .ok_or_else(|| broken("onnx external data", at, format!("location `{location}` leaves the folder")))?;
        let path = match model.rsplit_once('/') {
            Some((parent, _)) => format!("{parent}/{below}"),
            None => below,
        };
        if !folder.has(&path) {
            return Ok(Err(path));
        }
        let file = folder.open(&path)?;
        let rest = file.len().saturating_sub(self.offset);
        let section = file.slice("onnx external data", self.offset, self.length.unwrap_or(rest));
        section.map(Ok).map_err(|error| error.in_file(&path))
    }
}

/// The location in its plain form, or `None` when it may leave the folder.
fn inside(location: &str) -> Option<String> {
    if location.starts_with('/') || location.contains(['\\', '\0', ':']) {
        return None;
    }
    let parts: Vec<_> = location.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    (!parts.is_empty() && !parts.contains(&"..")).then(|| parts.join("/"))
}

/// Key and value of a `StringStringEntryProto`.
pub(super) fn entry(message: &Message, limits: &Limits) -> Result<(String, String), FormatError> {
    let (mut key, mut value) = (String::new(), String::new());
    for field in message.fields("onnx entry")? {
        let field = field?;
        match (field.number, field.value.message()) {
            (1, Some(text)) => key = text.text("onnx key", limits.name_bytes)?,
            (2, Some(text)) => value = text.text("onnx value", limits.text_bytes)?,
            _ => {}
        }
    }
    Ok((key, value))
}

#[cfg(test)]
mod tests {
    use super::inside;

    #[test]
    fn only_locations_below_the_folder_are_taken() {
        assert_eq!(inside("./a//b.bin").as_deref(), Some("a/b.bin"));
        for outside in ["", ".", "/etc/passwd", "../a", "a/../../b", "a/..", "a\\..\\b", "c:x", "a\0"] {
            assert_eq!(inside(outside), None, "{outside}");
        }
    }
}
