//! All objects of a file, each under its path.

use std::collections::HashSet;

use serde_json::{Map, Value as Json};

use crate::contents::{Warning, WarningKind};
use crate::dtype::Dtype;
use crate::error::{ErrorKind, FormatError};
use crate::limits::Limits;
use crate::tensor::Tensor;

use super::File;
use super::group::Target;
use super::header::Object;

/// What a walk found.
#[derive(Debug, Default)]
pub struct Tree {
    /// Datasets, named by their paths.
    pub tensors: Vec<Tensor>,
    /// Attributes of groups and datasets below the root, by path; objects without any are left out.
    pub attributes: Map<String, Json>,
}

impl File {
    /// Describes every dataset, and collects attributes.
    ///
    /// # Errors
    /// As [`File::links`]. A dataset that is not supported, and a link that leads elsewhere, is a warning.
    pub fn walk(&self, warnings: &mut Vec<Warning>) -> Result<Tree, FormatError> {
        let mut tree = Tree::default();
        let mut groups = HashSet::new();
        let mut seen = 0u64;
        let mut waiting = vec![(String::new(), self.root(), 0u64)];
        let mut warn = |kind, message| {
            let file = self.section.file().to_string();
            warnings.push(Warning { kind, file, message });
        };
        while let Some((path, address, depth)) = waiting.pop() {
            Limits::at_most("nesting of hdf5 groups", depth, self.limits.depth)?;
            let object = self.object(address)?;
            let attributes = self.json(&self.attributes(&object)?);
            if object.is_dataset() {
                let kind = attributes.get("dtype").and_then(Json::as_str).and_then(named);
                match self.dataset(&object, &path, kind) {
                    Ok(tensor) => {
                        if tensor.pieces.is_empty() {
                            let text = format!("`{path}` lies in other files, which are not opened");
                            warn(WarningKind::Missing, text);
                        }
                        tree.tensors.push(tensor);
                    }
                    Err(error) if error.kind() == ErrorKind::Unsupported => {
                        warn(WarningKind::Unreadable, error.to_string());
                    }
                    Err(error) => return Err(error),
                }
            } else {
                if !groups.insert(address) {
                    warn(WarningKind::Other, format!("group `{path}` is another group, or inside itself"));
                    continue;
                }
                self.children(&object, &path, depth, &mut waiting, &mut warn)?;
            }
            if !attributes.is_empty() && !path.is_empty() {
                tree.attributes.insert(path, Json::Object(attributes));
            }
            seen += 1;
            Limits::at_most("number of hdf5 objects", seen + waiting.len() as u64, self.limits.members)?;
        }
        Ok(tree)
    }

    fn children(
        &self,
        group: &Object,
        path: &str,
        depth: u64,
        waiting: &mut Vec<(String, u64, u64)>,
        warn: &mut dyn FnMut(WarningKind, String),
    ) -> Result<(), FormatError> {
        let mut children = Vec::new();
        for link in self.links(group)? {
            let name = if path.is_empty() { link.name } else { format!("{path}/{}", link.name) };
            Limits::at_most("hdf5 path in bytes", name.len() as u64, self.limits.name_bytes)?;
            match link.target {
                Target::Object(address) => children.push((name, address, depth + 1)),
                Target::Soft(target) => {
                    warn(WarningKind::Other, format!("soft link `{name}` to `{target}` is not followed"));
                }
                Target::External { file, path } => {
                    let text = format!("external link `{name}` to `{path}` in `{file}` is not followed");
                    warn(WarningKind::Other, text);
                }
            }
        }
        // The last in is the first out.
        waiting.extend(children.into_iter().rev());
        Ok(())
    }
}

/// Element types that Keras names in an attribute, because HDF5 has none.
fn named(name: &str) -> Option<Dtype> {
    Some(match name {
        "bfloat16" => Dtype::BF16,
        "float8_e4m3fn" => Dtype::F8E4M3,
        "float8_e5m2" => Dtype::F8E5M2,
        _ => return None,
    })
}
