//! Adapters of kohya's scripts: paths with underscores, and a tensor for each strength.

use std::collections::HashMap;

use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::tensor::{Stored, Tensor};

use super::{COMPONENTS, Modules, component_of, module, named, put, words};
use crate::remap::rules::{Made, refused};
use crate::remap::stable_diffusion::unet_path;
use crate::remap::{Draft, Input, values};

pub(super) fn read(input: &Input<'_>, made: Vec<Made>) -> Result<Modules, FormatError> {
    let known = paths(input.base.unwrap_or_default());
    let mut modules = Modules::new();
    for made in made {
        let name = made.tensor.name.clone();
        let found = COMPONENTS.iter().find_map(|(component, prefixes)| {
            prefixes.iter().find_map(|prefix| Some((*component, name.strip_prefix(prefix)?)))
        });
        let Some((component, (joined, part))) =
            found.and_then(|(component, rest)| Some((component, rest.split_once('.')?)))
        else {
            return Err(refused(format!("`{name}` is no part of an adapter of kohya's scripts")));
        };
        let path = match known.get(&(component, joined.to_owned())).or_else(|| known.get(&("", joined.to_owned()))) {
            Some(path) => path.clone(),
            None => words::dotted(joined).ok_or_else(|| {
                refused(format!("where `{name}` has underscores for dots is not known; give the base model"))
            })?,
        };
        let path = if component == "unet" { unet_path(&path)? } else { path };
        let module = module(&mut modules, component, &path);
        match part {
            "lora_down.weight" => put(&mut module.down, made)?,
            "lora_up.weight" => put(&mut module.up, made)?,
            "dora_scale" => put(&mut module.magnitude, made)?,
            "alpha" => {
                if module.alpha.replace(values::scalar(input, &made.tensor)?).is_some() {
                    return Err(refused(format!("`{path}` has two alphas")));
                }
            }
            _ => return Err(refused(format!("`{name}` is a part that low-rank adapters of other kinds have"))),
        }
    }
    Ok(modules)
}

pub(super) fn write(modules: Modules, draft: &mut Draft) -> Result<(), FormatError> {
    let xl = modules.keys().any(|(component, _)| component == "text_encoder_2");
    let mut done = Vec::new();
    for ((component, path), module) in &modules {
        let component = if component.is_empty() { component_of(path).unwrap_or_default() } else { component.as_str() };
        let prefix = match (component, xl) {
            ("text_encoder", true) => "lora_te1_",
            ("text_encoder", false) => "lora_te_",
            ("text_encoder_2", _) => "lora_te2_",
            ("unet", _) => "lora_unet_",
            ("transformer", _) => "lora_transformer_",
            _ => {
                let detail = format!("kohya's scripts adapt U-nets and text encoders; `{path}` is of neither");
                return Err(refused(detail));
            }
        };
        let name = |part: &str| format!("{prefix}{}.{part}", path.replace('.', "_"));
        let down = module.part(path, "down")?;
        done.push(named(down, name("lora_down.weight")));
        done.push(named(module.part(path, "up")?, name("lora_up.weight")));
        let outputs = module.outputs(path)?;
        let shape: Vec<u64> =
            [outputs].into_iter().chain(std::iter::repeat_n(1, down.tensor.shape.len() - 1)).collect();
        done.extend(module.magnitude(path, &shape, &name("dora_scale"))?);
        let rank = module.rank(path)?;
        let alpha = module.alpha.unwrap_or(rank as f64);
        if f64::from(alpha as f32).to_bits() != alpha.to_bits() {
            draft.notes.push(format!("the alpha of `{path}`, {alpha}, is rounded to 24 bits"));
        }
        let stored = Stored::inline(&(alpha as f32).to_le_bytes());
        done.push(Made {
            tensor: Tensor::plain(name("alpha"), Dtype::F32, Vec::new(), stored),
            from: down.from.clone(),
        });
    }
    draft.components.push((String::new(), "lora", done));
    Ok(())
}

/// Paths of the base's modules, by what they look like with underscores; also by component.
fn paths(base: &[Tensor]) -> HashMap<(&'static str, String), String> {
    let mut found = HashMap::new();
    for tensor in base {
        let Some(path) = tensor.name.strip_suffix(".weight") else { continue };
        let inside = COMPONENTS
            .iter()
            .find_map(|(component, _)| Some((*component, path.strip_prefix(component)?.strip_prefix('.')?)));
        let (component, path) = inside.unwrap_or(("", path));
        found.insert((component, path.replace('.', "_")), path.to_owned());
        // transformers 5 leaves this part out of a text encoder's names.
        if component.starts_with("text_encoder") && !path.starts_with("text_model.") {
            let path = format!("text_model.{path}");
            found.insert((component, path.replace('.', "_")), path);
        }
    }
    found
}
