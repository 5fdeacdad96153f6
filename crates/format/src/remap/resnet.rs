//! ResNet: transformers, torchvision and timm.
//!
//! torchvision and timm call everything the same; what differs from transformers is that stages are counted from 1, and
//! that a block's convolutions have names instead of a list.

use serde_json::{Map, Value, json};

use crate::error::FormatError;

use super::rules::{Made, Table, Way, refused};
use super::{Draft, NamingKind, count, shape_of};

/// Most convolutions of one block: three in a bottleneck.
const CONVOLUTIONS: usize = 3;

/// Names with the numbers of blocks and their kind, as timm and torchvision have them.
const KNOWN: &[(&str, bool, &[u64])] = &[
    ("resnet18", false, &[2, 2, 2, 2]),
    ("resnet34", false, &[3, 4, 6, 3]),
    ("resnet26", true, &[2, 2, 2, 2]),
    ("resnet50", true, &[3, 4, 6, 3]),
    ("resnet101", true, &[3, 4, 23, 3]),
    ("resnet152", true, &[3, 8, 36, 3]),
];

/// Left timm and torchvision, right transformers.
fn table(head: bool) -> Table {
    let mut table = Table::default();
    let before = if head { "resnet." } else { "" };
    table
        .same("conv1.*", format!("{before}embedder.embedder.convolution.*"))
        .same("bn1.*", format!("{before}embedder.embedder.normalization.*"));
    for stage in 0..4 {
        let (left, right) = (stage + 1, format!("{before}encoder.stages.{stage}.layers.#"));
        for number in 0..CONVOLUTIONS {
            let place = number + 1;
            table
                .same(format!("layer{left}.#.conv{place}.*"), format!("{right}.layer.{number}.convolution.*"))
                .same(format!("layer{left}.#.bn{place}.*"), format!("{right}.layer.{number}.normalization.*"));
        }
        table
            .same(format!("layer{left}.#.downsample.0.*"), format!("{right}.shortcut.convolution.*"))
            .same(format!("layer{left}.#.downsample.1.*"), format!("{right}.shortcut.normalization.*"));
    }
    table.same("fc.*", "classifier.1.*");
    table
}

/// From timm or torchvision to transformers.
pub(super) fn to_hf(made: Vec<Made>, draft: &mut Draft) -> Result<(), FormatError> {
    let sizes = Sizes::of(&made)?;
    let made = table(true).apply(Way::Forward, made, &mut draft.notes)?;
    let mut config = json!({
        "model_type": "resnet",
        "architectures": [if sizes.classes > 0 { "ResNetForImageClassification" } else { "ResNetModel" }],
        "num_channels": sizes.channels,
        "embedding_size": sizes.stem,
        "hidden_sizes": sizes.widths,
        "depths": sizes.depths,
        "layer_type": if sizes.bottleneck { "bottleneck" } else { "basic" },
        "hidden_act": "relu",
        "downsample_in_first_stage": false,
        "downsample_in_bottleneck": false,
    });
    if let Value::Object(map) = &mut config
        && sizes.classes > 0
    {
        map.extend(labels(sizes.classes));
    }
    draft.documents.insert("config.json".to_owned(), config);
    draft.whole(made);
    Ok(())
}

/// From transformers to timm or torchvision.
pub(super) fn from_hf(made: Vec<Made>, to: NamingKind, draft: &mut Draft) -> Result<(), FormatError> {
    let head = made.iter().any(|made| made.tensor.name.starts_with("resnet."));
    let made = table(head).apply(Way::Backward, made, &mut draft.notes)?;
    relabelled(made, to, draft)
}

/// Between timm and torchvision: only the configuration is another.
pub(super) fn relabelled(made: Vec<Made>, to: NamingKind, draft: &mut Draft) -> Result<(), FormatError> {
    if to == NamingKind::Timm {
        let sizes = Sizes::of(&made)?;
        draft.documents.insert("config.json".to_owned(), sizes.timm(&mut draft.notes));
    }
    draft.whole(made);
    Ok(())
}

/// What a classifier's configuration says of its classes when they have no names.
pub(super) fn labels(classes: u64) -> Map<String, Value> {
    let label = |class: u64| format!("LABEL_{class}");
    // A head of millions of classes needs no list of names that say nothing.
    if classes > 100_000 {
        return Map::from_iter([("num_labels".to_owned(), json!(classes))]);
    }
    let names: Map<String, Value> = (0..classes).map(|class| (class.to_string(), label(class).into())).collect();
    let numbers: Map<String, Value> = (0..classes).map(|class| (label(class), class.into())).collect();
    Map::from_iter([("id2label".to_owned(), names.into()), ("label2id".to_owned(), numbers.into())])
}

/// Sizes of a ResNet by the names and shapes of torchvision.
struct Sizes {
    channels: u64,
    stem: u64,
    widths: Vec<u64>,
    depths: Vec<u64>,
    bottleneck: bool,
    classes: u64,
}

impl Sizes {
    fn of(made: &[Made]) -> Result<Self, FormatError> {
        let Some([stem, channels, ..]) = shape_of(made, "conv1.weight") else {
            return Err(refused("a ResNet begins with `conv1.weight`, which is not there".to_owned()));
        };
        let bottleneck = shape_of(made, "layer1.0.conv3.weight").is_some();
        let last = if bottleneck { 3 } else { 2 };
        let (mut widths, mut depths) = (Vec::new(), Vec::new());
        for stage in 1..=4 {
            let depth = count(made, &format!("layer{stage}.#"));
            let Some([width, ..]) = shape_of(made, &format!("layer{stage}.0.conv{last}.weight")) else { break };
            widths.push(*width);
            depths.push(depth);
        }
        if widths.is_empty() {
            return Err(refused("a ResNet has `layer1.0.conv1.weight`, which is not there".to_owned()));
        }
        let classes = shape_of(made, "fc.weight").and_then(|shape| shape.first().copied()).unwrap_or(0);
        Ok(Self { channels: *channels, stem: *stem, widths, depths, bottleneck, classes })
    }

    /// The folder's `config.json` for timm.
    fn timm(&self, notes: &mut Vec<String>) -> Value {
        let known =
            KNOWN.iter().find(|(_, bottleneck, depths)| *bottleneck == self.bottleneck && *depths == self.depths);
        let fallback = if self.bottleneck { "resnet50" } else { "resnet18" };
        let name = known.map_or(fallback, |(name, _, _)| name);
        let mut arguments = Map::new();
        if known.is_none() {
            arguments.insert("layers".to_owned(), json!(self.depths));
        }
        let expansion = if self.bottleneck { 4 } else { 1 };
        let planes: Vec<u64> = self.widths.iter().map(|width| width / expansion).collect();
        if planes != [64, 128, 256, 512] {
            arguments.insert("channels".to_owned(), json!(planes));
        }
        if self.stem != 64 {
            notes.push(format!("timm's `{name}` has 64 channels in its stem; these weights have {}", self.stem));
        }
        let features = self.widths.last().copied().unwrap_or(0);
        let mut config = json!({
            "architecture": name,
            "num_classes": self.classes,
            "num_features": features,
            "pretrained_cfg": {
                "custom_load": false, "input_size": [self.channels, 224, 224], "fixed_input_size": false,
                "interpolation": "bicubic", "crop_pct": 0.875, "crop_mode": "center",
                "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
                "num_classes": self.classes, "pool_size": [7, 7], "first_conv": "conv1", "classifier": "fc",
            },
        });
        if let Value::Object(map) = &mut config
            && !arguments.is_empty()
        {
            map.insert("model_args".to_owned(), arguments.into());
        }
        config
    }
}
