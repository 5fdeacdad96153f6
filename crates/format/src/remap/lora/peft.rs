//! Adapters of PEFT: one model each, with `adapter_config.json`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::error::FormatError;

use super::{COMPONENTS, Module, Modules, alpha, module, named, put, settings};
use crate::remap::rules::{Made, refused};
use crate::remap::{Draft, Input, values};

/// What stands before every path.
const BEFORE: &str = "base_model.model.";

pub(super) fn read(input: &Input<'_>, made: Vec<Made>) -> Result<Modules, FormatError> {
    let config = input.contents.metadata.get("adapter").and_then(Value::as_object).cloned();
    let config = match config {
        Some(config) => config,
        None => values::document(input, "adapter_config.json")?.unwrap_or_default(),
    };
    if let Some(kind) = config.get("peft_type").and_then(Value::as_str)
        && kind != "LORA"
    {
        return Err(refused(format!("an adapter of the type `{kind}` has no counterpart elsewhere")));
    }
    let mut modules = Modules::new();
    for made in made {
        let name = made.tensor.name.clone();
        let path = name.strip_prefix(BEFORE).unwrap_or(&name);
        let Some((component, path, part)) = split(path) else {
            return Err(refused(format!("`{name}` is no part of a low-rank adapter")));
        };
        let module = module(&mut modules, component, path);
        match part {
            Part::Down => put(&mut module.down, made)?,
            Part::Up => put(&mut module.up, made)?,
            Part::Magnitude => put(&mut module.magnitude, made)?,
        }
    }
    if config.is_empty() {
        return Err(refused(
            "an adapter of PEFT says its alpha in `adapter_config.json`, which is not there".to_owned(),
        ));
    }
    for ((_, path), module) in &mut modules {
        let rank = module.rank(path)?;
        module.alpha = alpha(&config, path, rank);
    }
    Ok(modules)
}

/// Which matrix a tensor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Down,
    Up,
    Magnitude,
}

/// Component (if the path begins with one), path and part of a name of PEFT or diffusers.
pub(super) fn split(name: &str) -> Option<(&'static str, &str, Part)> {
    const ENDS: &[(&str, Part)] = &[
        (".lora_A.weight", Part::Down),
        (".lora_B.weight", Part::Up),
        (".lora_A.default.weight", Part::Down),
        (".lora_B.default.weight", Part::Up),
        (".lora_magnitude_vector", Part::Magnitude),
        (".lora_magnitude_vector.weight", Part::Magnitude),
        (".lora_magnitude_vector.default.weight", Part::Magnitude),
        (".lora.down.weight", Part::Down),
        (".lora.up.weight", Part::Up),
        (".lora_linear_layer.down.weight", Part::Down),
        (".lora_linear_layer.up.weight", Part::Up),
    ];
    let (path, part) = ENDS.iter().find_map(|(end, part)| Some((name.strip_suffix(end)?, *part)))?;
    let inside = COMPONENTS
        .iter()
        .find_map(|(component, _)| Some((*component, path.strip_prefix(component)?.strip_prefix('.')?)));
    let (component, path) = inside.unwrap_or(("", path));
    (!path.is_empty()).then_some((component, path, part))
}

pub(super) fn write(input: &Input<'_>, modules: Modules, draft: &mut Draft) -> Result<(), FormatError> {
    let mut by_component: BTreeMap<&str, Vec<(&str, &Module)>> = BTreeMap::new();
    for ((component, path), module) in &modules {
        by_component.entry(component).or_default().push((path, module));
    }
    let alone = by_component.len() == 1;
    if !alone {
        draft.notes.push("PEFT has one adapter for one model: each component has a folder of its own".to_owned());
    }
    for (component, modules) in by_component {
        let folder = if alone { String::new() } else { component.to_owned() };
        let mut made = Vec::new();
        for (path, module) in &modules {
            let name = |part: &str| format!("{BEFORE}{path}.{part}");
            made.push(named(module.part(path, "down")?, name("lora_A.weight")));
            made.push(named(module.part(path, "up")?, name("lora_B.weight")));
            let shape = module.peft_magnitude(path)?;
            made.extend(module.magnitude(path, &shape, &name("lora_magnitude_vector"))?);
        }
        let mut config = Map::from_iter([
            ("peft_type".to_owned(), json!("LORA")),
            ("task_type".to_owned(), Value::Null),
            ("inference_mode".to_owned(), json!(true)),
            ("bias".to_owned(), json!("none")),
            ("fan_in_fan_out".to_owned(), json!(false)),
            ("lora_dropout".to_owned(), json!(0.0)),
            (
                "base_model_name_or_path".to_owned(),
                input.contents.metadata.get("base_model").cloned().unwrap_or(Value::Null),
            ),
        ]);
        config.extend(settings(&modules)?);
        let path =
            if folder.is_empty() { "adapter_config.json".to_owned() } else { format!("{folder}/adapter_config.json") };
        draft.documents.insert(path, Value::Object(config));
        draft.components.push((folder, "adapter_model", made));
    }
    Ok(())
}
