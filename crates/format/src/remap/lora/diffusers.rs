//! Adapters of diffusers: one file for a pipeline, with settings in its metadata.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::peft::{Part, split};
use super::{Module, Modules, SETTINGS, alpha, component_of, module, named, put, settings};
use crate::error::FormatError;
use crate::remap::rules::{Made, refused};
use crate::remap::{Draft, Input, values};

pub(super) fn read(input: &Input<'_>, made: Vec<Made>) -> Result<Modules, FormatError> {
    let said = match input.contents.metadata.get(SETTINGS) {
        Some(Value::String(text)) => serde_json::from_str(text).unwrap_or(Value::Null),
        Some(value) => value.clone(),
        None => Value::Null,
    };
    let said = said.as_object().cloned().unwrap_or_default();
    let mut modules = Modules::new();
    let mut alphas = BTreeMap::new();
    for made in made {
        let name = processor(&made.tensor.name);
        if let Some(path) = name.strip_suffix(".alpha") {
            alphas.insert(path.to_owned(), values::scalar(input, &made.tensor)?);
            continue;
        }
        let Some((component, path, part)) = split(&name) else {
            return Err(refused(format!("`{}` is no part of a low-rank adapter", made.from)));
        };
        let module = module(&mut modules, component, path);
        match part {
            Part::Down => put(&mut module.down, made)?,
            Part::Up => put(&mut module.up, made)?,
            Part::Magnitude => put(&mut module.magnitude, made)?,
        }
    }
    let own: BTreeMap<String, Map<String, Value>> = super::COMPONENTS
        .iter()
        .map(|(component, _)| {
            let before = format!("{component}.");
            let own =
                said.iter().filter_map(|(key, value)| Some((key.strip_prefix(&before)?.to_owned(), value.clone())));
            ((*component).to_owned(), own.collect())
        })
        .collect();
    for ((component, path), module) in &mut modules {
        let rank = module.rank(path)?;
        let full = format!("{component}.{path}");
        module.alpha = alphas.remove(&full).or_else(|| alpha(own.get(component)?, path, rank));
    }
    match alphas.keys().next() {
        Some(path) => Err(refused(format!("`{path}.alpha` belongs to no module that is there"))),
        None => Ok(modules),
    }
}

/// A name of the first adapters of diffusers, in which processors held the matrices, as later ones have it:
/// `attn1.processor.to_q_lora.down.weight` is `attn1.to_q.lora.down.weight`.
fn processor(name: &str) -> String {
    let Some((before, rest)) = name.split_once(".processor.") else { return name.to_owned() };
    let Some((projection, part)) = rest.split_once("_lora.") else { return name.to_owned() };
    // The output projection is the first of a list.
    let projection = if projection == "to_out" { "to_out.0" } else { projection };
    format!("{before}.{projection}.lora.{part}")
}

pub(super) fn write(modules: Modules, draft: &mut Draft) -> Result<(), FormatError> {
    let mut by_component: BTreeMap<&str, Vec<(&str, &Module)>> = BTreeMap::new();
    for ((component, path), module) in &modules {
        let component = if component.is_empty() { component_of(path) } else { Some(component.as_str()) };
        let Some(component) = component else {
            return Err(refused(format!("`{path}` is of no component of a pipeline that is known")));
        };
        by_component.entry(component).or_default().push((path, module));
    }
    let (mut made, mut said, mut scaled) = (Vec::new(), Map::new(), false);
    for (component, modules) in by_component {
        for (path, module) in &modules {
            let name = |part: &str| format!("{component}.{path}.{part}");
            made.push(named(module.part(path, "down")?, name("lora_A.weight")));
            made.push(named(module.part(path, "up")?, name("lora_B.weight")));
            let shape = module.peft_magnitude(path)?;
            made.extend(module.magnitude(path, &shape, &name("lora_magnitude_vector"))?);
            let rank = module.rank(path)? as f64;
            scaled |= module.alpha.is_some_and(|alpha| alpha.to_bits() != rank.to_bits());
        }
        let own = settings(&modules)?;
        said.extend(own.into_iter().map(|(key, value)| (format!("{component}.{key}"), value)));
    }
    if scaled {
        draft.notes.push(format!(
            "alphas that are not the rank stand in the metadata under `{SETTINGS}`; diffusers before 0.34 does not read it"
        ));
    }
    draft.metadata.insert(SETTINGS.to_owned(), Value::Object(said).to_string());
    draft.metadata.insert("format".to_owned(), "pt".to_owned());
    draft.components.push((String::new(), "pytorch_lora_weights", made));
    Ok(())
}
