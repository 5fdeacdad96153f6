//! DeepSpeed's universal checkpoints: for each parameter a folder with a torch file for the weights and for each slot.

use std::collections::HashMap;

use crate::contents::{Contents, Optimizer, WarningKind};
use crate::error::FormatError;
use crate::limits::Limits;
use crate::source::Folder;
use crate::tensor::Tensor;

use super::deepspeed::{one_tensor, put};
use super::{optim, ranks};

/// Whether the step's folder has parameters by name.
pub(super) fn is(folder: &dyn Folder, path: &str) -> bool {
    let zero = format!("{path}zero/");
    folder.under(&zero).iter().any(|file| file.path.ends_with("/fp32.pt"))
}

/// Reads weights into `named`, and the optimizer's state.
pub(super) fn read(
    folder: &dyn Folder,
    path: &str,
    limits: &Limits,
    named: &mut Vec<Tensor>,
    contents: &mut Contents,
) -> Result<(), FormatError> {
    let zero = format!("{path}zero/");
    let mut optimizer = Optimizer::default();
    if folder.has(&format!("{zero}optimizer_state.pt")) {
        let mut loaded = ranks::open(folder, &format!("{zero}optimizer_state.pt"), limits)?;
        let groups = loaded.graph.get(loaded.root, "param_groups");
        let groups = groups.map(|groups| loaded.graph.items(groups).to_vec()).unwrap_or_default();
        optimizer.groups = groups.into_iter().map(|group| loaded.group(group).0).collect();
        ranks::note(&mut loaded, contents);
    }
    let (mut entries, mut weights) = (Vec::new(), Vec::new());
    for name in ranks::folders(folder, &zero) {
        let inside = format!("{zero}{name}/");
        let mut entry = optim::Entry { key: name.to_owned(), number: None, slots: Vec::new() };
        for file in ranks::names(folder, &inside).filter(|file| file.ends_with(".pt")) {
            let slot = file.trim_end_matches(".pt");
            let mut loaded = ranks::open(folder, &format!("{inside}{file}"), limits)?;
            // `{"param": tensor, "cat_dim": …}`, or the bare tensor.
            let node = loaded.graph.get(loaded.root, "param").unwrap_or(loaded.root);
            if slot == "step" {
                optimizer.step = optimizer.step.max(loaded.step(node));
            } else {
                match one_tensor(&loaded, node)? {
                    Some(tensor) if slot == "fp32" => weights.push(Tensor { name: name.to_owned(), ..tensor }),
                    Some(tensor) => entry.slots.push((slot.to_owned(), tensor)),
                    None => contents.warn(WarningKind::Unreadable, &*loaded.label, "it holds no tensor"),
                }
            }
            ranks::note(&mut loaded, contents);
        }
        entries.push(entry);
    }
    put(named, weights);
    contents.optimizer = Some(optim::build(optimizer, &[], HashMap::new(), entries, named));
    Ok(())
}
