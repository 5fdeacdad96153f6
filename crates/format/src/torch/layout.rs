//! What training programs and libraries write inside torch files.

use serde_json::{Map, Value};

use crate::contents::{Architecture, Contents};
use crate::identity::Format;
use crate::pickle::NodeId;

use super::loaded::Loaded;
use super::model::Places;

/// Recognises the layout, and takes from it what it says of the architecture.
pub(super) fn recognise(loaded: &Loaded, places: &Places, contents: &mut Contents) {
    let root = loaded.root;
    let has = |key: &str| loaded.graph.get(root, key).is_some();
    if has("pytorch-lightning_version") && has("state_dict") {
        contents.formats.push(Format::Lightning);
    }
    if has("dims") && has("model_state_dict") {
        whisper(loaded, contents);
    }
    if has("arch") && has("state_dict") && !has("pytorch-lightning_version") {
        contents.formats.push(Format::Timm);
        contents.architecture.class = loaded.at(root, &["arch"]).and_then(|arch| loaded.text(arch));
    }
    if let Some(class) = loaded.graph.class(root) {
        if class.name.ends_with("TrainingArguments") || class.name.ends_with("Config") {
            contents.metadata.insert("class".into(), Value::String(class.path()));
        } else if loaded.module(root).is_none() && !loaded.is_tensor(root) {
            contents.architecture.class =
                Some(class.name.to_string()).filter(|_| !class.module.starts_with("collections"));
            // Replay buffers and policies are pickled apart from the model.
            if class.module.starts_with("stable_baselines3.") || class.module.starts_with("sb3_contrib.") {
                contents.architecture.family = Some("stable-baselines3".to_owned());
            }
        }
    }
    if let Some(model) = places.model
        && loaded.module(model).is_some()
    {
        module(loaded, model, contents);
    }
    let stable_diffusion = |name: &str| name.starts_with("model.diffusion_model.");
    if contents.tensors.iter().any(|tensor| stable_diffusion(&tensor.name)) {
        contents.formats.push(Format::StableDiffusion);
        contents.architecture.family = Some("stable-diffusion".to_owned());
    }
}

/// openai-whisper: sizes under `dims`, in its own words.
fn whisper(loaded: &Loaded, contents: &mut Contents) {
    const WORDS: &[(&str, &str)] = &[
        ("n_vocab", "vocab_size"),
        ("n_audio_state", "hidden_size"),
        ("n_audio_layer", "encoder_layers"),
        ("n_audio_head", "encoder_attention_heads"),
        ("n_text_layer", "decoder_layers"),
        ("n_text_head", "decoder_attention_heads"),
        ("n_mels", "num_mel_bins"),
        ("n_audio_ctx", "max_source_positions"),
        ("n_text_ctx", "max_target_positions"),
    ];
    contents.formats.push(Format::OpenAiWhisper);
    let Some(dims) = loaded.at(loaded.root, &["dims"]) else { return };
    let architecture = &mut contents.architecture;
    architecture.family = Some("whisper".to_owned());
    for (theirs, ours) in WORDS {
        let value = loaded.graph.get(dims, theirs).and_then(|value| loaded.graph.unsigned(value));
        architecture.sizes.extend(value.map(|value| ((*ours).to_owned(), value)));
    }
    if let Some(Value::Object(config)) = loaded.json(dims, &Default::default()) {
        architecture.config = config;
    }
}

/// A pickled module: its class, and for YOLO its configuration.
fn module(loaded: &Loaded, model: NodeId, contents: &mut Contents) {
    let Some(class) = loaded.graph.class(model) else { return };
    let architecture: &mut Architecture = &mut contents.architecture;
    architecture.class = Some(class.name.to_string());
    let yolo = class.module.starts_with("ultralytics.") || class.module.starts_with("models.yolo");
    let Some(attributes) = loaded.attributes(model) else { return };
    if yolo {
        contents.formats.push(Format::Ultralytics);
        architecture.family = Some("yolo".to_owned());
        let yaml = loaded.graph.get(attributes, "yaml").and_then(|yaml| loaded.json(yaml, &Default::default()));
        if let Some(Value::Object(yaml)) = yaml {
            architecture.config = yaml;
        }
        let classes = loaded.at(attributes, &["nc"]).or_else(|| loaded.at(attributes, &["yaml", "nc"]));
        let classes = classes.and_then(|classes| loaded.graph.unsigned(classes));
        architecture.sizes.extend(classes.map(|classes| ("num_labels".to_owned(), classes)));
        let mut facts = Map::new();
        for key in ["names", "nc", "task", "stride", "args"] {
            let value = loaded.graph.get(attributes, key).and_then(|value| loaded.json(value, &Default::default()));
            facts.extend(value.map(|value| (key.to_owned(), value)));
        }
        for (key, value) in facts {
            contents.metadata.entry(key).or_insert(value);
        }
    } else if let Some(config) = loaded.graph.get(attributes, "config") {
        // Models of transformers carry their configuration.
        if let Some(Value::Object(config)) = loaded.json(config, &Default::default()) {
            architecture.family = config.get("model_type").and_then(Value::as_str).map(ToOwned::to_owned);
            architecture.config = config;
        }
    }
}
