//! Small checkpoints with numbers like those of weights, in the containers that people keep them in.

use std::collections::BTreeMap;

use serde_json::{Map, json};
use weighthouse_format::gguf::metadata::Value;
use weighthouse_format::output::{OutputFile, OutputTensor, Part};
use weighthouse_format::source::MemoryFolder;
use weighthouse_format::{Dtype, Limits, Section, checkpoint, data::produce::Produce};

use crate::convert::{Form, Options, WeightType, plan, pour};
use crate::source::{Facts, Source};

/// Tensors in the order of their names.
#[derive(Clone)]
pub struct Model(pub BTreeMap<String, (Vec<u64>, Vec<f32>)>);

struct Still;

impl Facts for Still {
    fn stamp(&self, _path: &str) -> String {
        String::new()
    }
}

/// Numbers about zero whose sizes are spread as those of weights are.
pub fn normal(seed: u64, count: usize, scale: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    (0..count).map(|_| (0..6).map(|_| uniform()).sum::<f32>() * scale).collect()
}

impl Model {
    pub fn new(seed: u64) -> Self {
        let mut tensors = BTreeMap::new();
        let mut add = |name: String, shape: &[u64], scale: f32| {
            let count = shape.iter().product::<u64>() as usize;
            let values = normal(seed.wrapping_mul(1_000).wrapping_add(tensors.len() as u64), count, scale);
            tensors.insert(name, (shape.to_vec(), values));
        };
        add("model.embed_tokens.weight".to_owned(), &[300, 128], 0.02);
        for layer in 0..2 {
            for (part, rows, columns) in [
                ("self_attn.q_proj", 128, 128),
                ("self_attn.v_proj", 64, 128),
                ("mlp.up_proj", 320, 128),
                ("mlp.down_proj", 128, 320),
            ] {
                add(format!("model.layers.{layer}.{part}.weight"), &[rows, columns], 0.05);
            }
            add(format!("model.layers.{layer}.input_layernorm.weight"), &[128], 0.1);
        }
        Self(tensors)
    }

    /// The same after some training.
    pub fn tuned(&self, seed: u64) -> Self {
        let mut tuned = self.clone();
        for (number, (_, values)) in tuned.0.values_mut().enumerate() {
            let steps = normal(seed.wrapping_mul(77).wrapping_add(number as u64), values.len(), 2e-4);
            values.iter_mut().zip(steps).for_each(|(value, step)| *value += step);
        }
        tuned
    }

    pub fn safetensors(&self, dtype: Dtype) -> Vec<u8> {
        self.part(dtype, &|_| true)
    }

    /// A safetensors file of some of the tensors.
    pub fn part(&self, dtype: Dtype, has: &dyn Fn(&str) -> bool) -> Vec<u8> {
        let mut header = Map::new();
        let mut data: Vec<u8> = Vec::new();
        for (name, (shape, values)) in self.0.iter().filter(|(name, _)| has(name)) {
            let begin = data.len();
            match dtype {
                Dtype::F32 => data.extend(values.iter().flat_map(|value| value.to_le_bytes())),
                _ => data.extend(values.iter().flat_map(|value| bf16(*value).to_le_bytes())),
            }
            let info = json!({"dtype": dtype.as_str(), "shape": shape, "data_offsets": [begin, data.len()]});
            header.insert(name.clone(), info);
        }
        let header = serde_json::Value::Object(header).to_string();
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.extend(data);
        file
    }

    /// Two shards and their index, cut elsewhere than anything is cut by chance.
    pub fn shards(&self, dtype: Dtype) -> Vec<(String, Vec<u8>)> {
        let first = |name: &str| name.contains("mlp");
        let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        let map: Map<_, _> =
            self.0.keys().map(|name| (name.clone(), json!(names[usize::from(!first(name))]))).collect();
        vec![
            (names[0].to_owned(), self.part(dtype, &first)),
            (names[1].to_owned(), self.part(dtype, &|name| !first(name))),
            ("model.safetensors.index.json".to_owned(), json!({"weight_map": map}).to_string().into_bytes()),
        ]
    }

    /// Another form, made by the writers that `wh convert` has.
    pub fn converted(&self, form: Form, dtype: Option<Dtype>, name: &str) -> Vec<(String, Vec<u8>)> {
        let folder = MemoryFolder::new(vec![Section::of_bytes("model.safetensors", self.safetensors(Dtype::F32))]);
        let source = Source { folder: &folder, file: None, facts: &Still };
        let options = Options { to: form, dtype: dtype.map(WeightType::Dtype), ..Options::default() };
        let plan = plan(&source, &options, Some(name)).unwrap();
        let mut files: Vec<(String, Vec<u8>)> = plan.files.iter().map(|file| (file.path.clone(), Vec::new())).collect();
        let mut sink = |number: usize, bytes: &[u8]| {
            files[number].1.extend_from_slice(bytes);
            Ok(())
        };
        pour(&source, &plan, &mut sink, &|_, _| {}).unwrap();
        files
    }

    /// A GGUF file with the names of llama.cpp, made by the writer of the format.
    pub fn gguf(&self, dtype: Dtype) -> Vec<u8> {
        let folder = MemoryFolder::new(vec![Section::of_bytes("model.safetensors", self.safetensors(Dtype::F32))]);
        let read = checkpoint::read(&folder, &Limits::default()).unwrap();
        let tensors: Vec<OutputTensor> = read
            .contents
            .tensors
            .iter()
            .map(|tensor| {
                let name = tensor
                    .name
                    .replace("model.layers.", "blk.")
                    .replace("model.embed_tokens", "token_embd")
                    .replace("self_attn.q_proj", "attn_q")
                    .replace("self_attn.v_proj", "attn_v")
                    .replace("mlp.up_proj", "ffn_up")
                    .replace("mlp.down_proj", "ffn_down")
                    .replace("input_layernorm", "attn_norm");
                let dtype = if tensor.shape.len() == 1 { Dtype::F32 } else { dtype };
                OutputTensor { name, dtype, ..OutputTensor::same(tensor) }
            })
            .collect();
        let entries = [("general.architecture".to_owned(), Value::text("llama"))];
        let options = weighthouse_format::gguf::write::Options::new("model.gguf");
        let files = weighthouse_format::gguf::write::plan(&entries, &tensors, &options).unwrap();
        bytes(&folder, &files[0], &tensors)
    }
}

fn bytes(folder: &MemoryFolder, file: &OutputFile, tensors: &[OutputTensor]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in &file.parts {
        match part {
            Part::Bytes(bytes) => out.extend_from_slice(bytes),
            Part::Tensor(number) => {
                let limits = Limits::default();
                let mut produce = Produce::new(folder, &tensors[*number], &limits).unwrap();
                produce
                    .bands::<weighthouse_format::FormatError>(1 << 20, |band| {
                        out.extend_from_slice(band);
                        Ok(())
                    })
                    .unwrap();
            }
            _ => panic!("GGUF has no checksums"),
        }
    }
    out
}

/// Rounded to nearest, ties to even.
pub fn bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}
