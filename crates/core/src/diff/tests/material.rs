//! A small decoder, and what can be done to it.

use weighthouse_format::source::MemoryFolder;
use weighthouse_format::{Dtype, Section};

use super::super::sample::Random;
use super::super::{Comparison, Side, compare, open};

/// A tensor: name, shape, numbers.
pub type Weight = (String, Vec<u64>, Vec<f32>);

/// Weights with names, and a configuration.
#[derive(Clone)]
pub struct Model {
    pub weights: Vec<Weight>,
    pub config: String,
    pub dtype: Dtype,
    /// Tensors in one file.
    pub shard: usize,
}

pub const LAYERS: usize = 4;
pub const WIDTH: u64 = 48;
pub const VOCABULARY: u64 = 96;

/// Numbers that are spread like weights, the same for one seed.
pub fn noise(seed: u64, len: u64, scale: f32) -> Vec<f32> {
    let mut random = Random(seed);
    let mut uniform = || random.below(1 << 24) as f32 / (1 << 23) as f32 - 1.0;
    (0..len).map(|_| (uniform() + uniform() + uniform()) * scale).collect()
}

impl Model {
    pub fn new(seed: u64) -> Self {
        let mut weights: Vec<Weight> = Vec::new();
        let mut add = |name: String, shape: &[u64], plain: bool| {
            let len = shape.iter().product();
            let number = weights.len() as u64;
            let values = if plain { vec![1.0; len as usize] } else { noise(seed * 1000 + number, len, 0.02) };
            weights.push((name, shape.to_vec(), values));
        };
        add("model.embed.weight".to_owned(), &[VOCABULARY, WIDTH], false);
        for layer in 0..LAYERS {
            for part in ["attn.q", "attn.k", "attn.v", "attn.o"] {
                add(format!("model.layers.{layer}.{part}.weight"), &[WIDTH, WIDTH], false);
            }
            add(format!("model.layers.{layer}.mlp.up.weight"), &[2 * WIDTH, WIDTH], false);
            add(format!("model.layers.{layer}.mlp.up.bias"), &[2 * WIDTH], false);
            add(format!("model.layers.{layer}.norm.weight"), &[WIDTH], true);
        }
        add("model.norm.weight".to_owned(), &[WIDTH], true);
        add("lm_head.weight".to_owned(), &[VOCABULARY, WIDTH], false);
        let config = r#"{"model_type":"llama","hidden_size":48}"#.to_owned();
        Self { weights, config, dtype: Dtype::F32, shard: usize::MAX }
    }

    /// Changes the numbers of all tensors whose names contain a text.
    pub fn each(&mut self, part: &str, mut change: impl FnMut(&mut Vec<f32>)) {
        let chosen = self.weights.iter_mut().filter(|(name, ..)| name.contains(part));
        assert!(chosen.map(|(_, _, values)| change(values)).count() > 0, "{part}");
    }

    /// Trains everything a little: every number moves.
    pub fn train(&mut self, part: &str, seed: u64, rate: f32) {
        let mut number = seed * 7777;
        self.each(part, |values| {
            number += 1;
            let steps = noise(number, values.len() as u64, rate);
            values.iter_mut().zip(steps).for_each(|(value, step)| *value += step);
        });
    }

    pub fn rename(&mut self, rename: impl Fn(&str) -> String) {
        self.weights.iter_mut().for_each(|(name, ..)| *name = rename(name));
    }

    pub fn folder(&self) -> MemoryFolder {
        let mut sections = vec![Section::of_bytes("config.json", self.config.as_bytes())];
        for (number, weights) in self.weights.chunks(self.shard.min(self.weights.len())).enumerate() {
            let name = if self.shard == usize::MAX {
                "model.safetensors".to_owned()
            } else {
                let shards = self.weights.len().div_ceil(self.shard);
                format!("model-{:05}-of-{shards:05}.safetensors", number + 1)
            };
            sections.push(Section::of_bytes(name.as_str(), safetensors(weights, self.dtype)));
        }
        MemoryFolder::new(sections)
    }
}

/// A safetensors file.
pub fn safetensors(weights: &[Weight], dtype: Dtype) -> Vec<u8> {
    let (mut at, mut entries, mut data) = (0, Vec::new(), Vec::new());
    for (name, shape, values) in weights {
        data.extend(encoded(values, dtype));
        let end = data.len();
        entries.push(format!("{name:?}:{{\"dtype\":\"{dtype}\",\"shape\":{shape:?},\"data_offsets\":[{at},{end}]}}"));
        at = end;
    }
    let json = format!("{{{}}}", entries.join(","));
    let mut file = (json.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(json.as_bytes());
    file.extend(data);
    file
}

pub fn encoded(values: &[f32], dtype: Dtype) -> Vec<u8> {
    let plain: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let mut out = Vec::new();
    weighthouse_format::cast::cast(Dtype::F32, &plain, &[], dtype, &mut out).unwrap();
    out
}

/// A GGUF file whose matrices have one type, and the rest is F32; shapes are ours, outermost first.
pub fn gguf(weights: &[Weight], dtype: Dtype, id: u32) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let mut head = b"GGUF".to_vec();
    head.extend(3u32.to_le_bytes());
    head.extend((weights.len() as u64).to_le_bytes());
    head.extend(1u64.to_le_bytes());
    head.extend(text("general.architecture"));
    head.extend(8u32.to_le_bytes());
    head.extend(text("llama"));
    let mut data = Vec::new();
    for (name, shape, values) in weights {
        let matrix = shape.len() > 1;
        let (dtype, id) = if matrix { (dtype, id) } else { (Dtype::F32, 0) };
        head.extend(text(name));
        head.extend((shape.len() as u32).to_le_bytes());
        shape.iter().rev().for_each(|extent| head.extend(extent.to_le_bytes()));
        head.extend(id.to_le_bytes());
        head.extend((data.len() as u64).to_le_bytes());
        data.extend(encoded(values, dtype));
        data.resize(data.len().next_multiple_of(32), 0);
    }
    head.resize(head.len().next_multiple_of(32), 0);
    head.extend(data);
    head
}

pub fn compared(a: &Model, b: &Model) -> Comparison {
    compared_folders(&a.folder(), &b.folder())
}

pub fn compared_folders(a: &MemoryFolder, b: &MemoryFolder) -> Comparison {
    let (open_a, open_b) = (open(a, None).unwrap(), open(b, None).unwrap());
    compare(Side::new(a, &open_a), Side::new(b, &open_b), None, &|_, _| {})
}

pub fn compared_with(a: &Model, b: &Model, c: &Model) -> Comparison {
    let folders = [a.folder(), b.folder(), c.folder()];
    let open: Vec<_> = folders.iter().map(|folder| open(folder, None).unwrap()).collect();
    let side = |at: usize| Side::new(&folders[at], &open[at]);
    compare(side(0), side(1), Some(side(2)), &|_, _| {})
}
