//! What the documents beside the weights say of them: architecture, layouts, metadata.

use serde_json::{Map, Value};

use super::join::{Documents, folder_of};
use super::readers::below;
use super::{Checkpoint, config, names};
use crate::contents::Architecture;
use crate::identity::Format;
use crate::torch;

/// Architecture, metadata and layouts from the documents.
pub(super) fn describe(
    checkpoint: &mut Checkpoint,
    config: Option<&Map<String, Value>>,
    documents: &Documents,
    main_folder: &str,
    pipeline: bool,
) {
    let contents = &mut checkpoint.contents;
    let index = documents.get("", "model_index.json").filter(|_| pipeline);
    let adapter = documents.get(main_folder, "adapter_config.json");
    let stated = match (index, config) {
        (Some(index), _) => Some(config::pipeline(index)),
        (None, Some(config)) => Some(config::architecture(config)),
        (None, None) => None,
    };
    if let Some(stated) = stated {
        contents.architecture = merge(stated, std::mem::take(&mut contents.architecture));
    }
    let by_names = names::family(&contents.tensors);
    if contents.architecture.family.is_none() {
        contents.architecture.family = by_names.map(str::to_owned);
    }
    let mut layouts = Vec::new();
    if contents.tensors.iter().any(|tensor| tensor.name.starts_with("model.diffusion_model.")) {
        layouts.push(Format::StableDiffusion);
    }
    if let Some(index) = index {
        layouts.push(Format::Diffusers);
        contents.code.extend(config::code("model_index.json", index));
    }
    if let Some(config) = config {
        let path = format!("{}config.json", below(main_folder));
        contents.code.extend(config::code(&path, config));
        let has = |key: &str| config.contains_key(key);
        if has("pretrained_cfg") || (has("architecture") && has("num_features")) {
            layouts.push(Format::Timm);
        } else if has("model_type") || has("architectures") {
            layouts.push(Format::HfModel);
        }
        if let Some(quantisation) = config.get("quantization_config").or_else(|| config.get("quantization")) {
            contents.metadata.insert("quantization".to_owned(), quantisation.clone());
        }
    }
    if let Some(adapter) = adapter {
        layouts.push(Format::Peft);
        contents.code.extend(config::code(&format!("{}adapter_config.json", below(main_folder)), adapter));
        contents.metadata.insert("adapter".to_owned(), Value::Object(adapter.clone()));
        if let Some(base) = adapter.get("base_model_name_or_path").filter(|base| base.is_string()) {
            contents.metadata.insert("base_model".to_owned(), base.clone());
        }
    }
    if contents.metadata.get("format").and_then(Value::as_str) == Some("mlx")
        || config.is_some_and(|c| c.contains_key("quantization") && !c.contains_key("quantization_config"))
    {
        layouts.push(Format::Mlx);
    }
    if let Some(state) = documents.get(main_folder, "trainer_state.json") {
        layouts.push(Format::HfTrainer);
        if let Some(optimizer) = &mut contents.optimizer
            && optimizer.step.is_none()
        {
            optimizer.step = state.get("global_step").and_then(Value::as_u64);
        }
        contents.metadata.insert("trainer_state".to_owned(), Value::Object(state.clone()));
    }
    for (document, key) in [("generation_config.json", "generation_config"), ("tokenizer_config.json", "tokenizer")] {
        if let Some(map) = documents.get(main_folder, document) {
            contents.metadata.insert(key.to_owned(), Value::Object(map.clone()));
        }
    }
    let has = |name: &str| {
        checkpoint.files.iter().any(|file| {
            folder_of(&file.path) == main_folder
                && file.path.rsplit('/').next().is_some_and(|file| file.starts_with(name))
        })
    };
    if has("random_states_") && !layouts.contains(&Format::HfTrainer) {
        layouts.push(Format::Accelerate);
    }
    for layout in layouts {
        if !contents.formats.contains(&layout) {
            contents.formats.push(layout);
        }
    }
    // safetensors sorts its tensors: beside it the numbers of an optimizer tell no names.
    if checkpoint.optimizer_apart
        && !contents.formats.contains(&Format::Safetensors)
        && let Some(optimizer) = &mut contents.optimizer
    {
        torch::name_parameters(optimizer, &contents.tensors);
    }
}

/// What a document states, completed by what the file itself says.
fn merge(stated: Architecture, found: Architecture) -> Architecture {
    let mut sizes = found.sizes;
    sizes.extend(stated.sizes);
    Architecture {
        family: stated.family.or(found.family),
        class: stated.class.or(found.class),
        sizes,
        config: if stated.config.is_empty() { found.config } else { stated.config },
    }
}
