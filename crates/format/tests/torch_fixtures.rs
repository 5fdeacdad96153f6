//! Checkpoints that torch wrote, against what torch itself loads from them.
//!
//! `WH_FIXTURES=FOLDER cargo test -p weighthouse-format --test torch_fixtures -- --ignored`; the folder has
//! `FORMAT/NAME/oracle.json` beside what it describes. `WH_FIXTURE=PREFIX` takes only some.

#![expect(clippy::unwrap_used, reason = "a fault of a fixture ends the test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};
use weighthouse_format::source::MemoryFolder;
use weighthouse_format::tensor::{Filter, Region, Stored};
use weighthouse_format::{Contents, Folder, Limits, Section, Tensor, torch};

const FORMATS: &[&str] = &[
    "torch",
    "torch-legacy",
    "torch-module",
    "torch-training",
    "torchscript",
    "pt2",
    "pickle",
    "joblib",
    "dcp",
    "dcp-hf",
    "deepspeed",
    "megatron",
    "fsdp",
    "lightning",
    "whisper",
    "yolo",
    "stable-baselines3",
    "trainer",
    "accelerate",
];

/// Row-major little-endian elements of a tensor, the slow and simple way.
fn elements(tensor: &Tensor, folder: &dyn Folder) -> Option<Vec<u8>> {
    let packed = tensor.dtype.block_elements() > 1;
    let width = if packed { 1 } else { tensor.dtype.block_bytes() as usize };
    let mut out = vec![0u8; tensor.size_bytes() as usize];
    for piece in &tensor.pieces {
        let mut bytes = match &piece.stored {
            Stored::File { file, begin, end } => folder.open(file).ok()?.read("piece", *begin, end - begin).ok()?,
            Stored::Inline(bytes) => bytes.to_vec(),
            Stored::Fill(element) => element.to_vec(),
        };
        for filter in &piece.filters {
            bytes = match *filter {
                Filter::SwapBytes { width } => {
                    bytes.chunks(width as usize).flat_map(|number| number.iter().rev().copied()).collect()
                }
                Filter::Negate { width } => {
                    for number in bytes.chunks_mut(width as usize) {
                        *number.last_mut().unwrap() ^= 0x80;
                    }
                    bytes
                }
                Filter::Conjugate { width } => {
                    for number in bytes.chunks_mut(2 * width as usize) {
                        *number.last_mut().unwrap() ^= 0x80;
                    }
                    bytes
                }
                Filter::Latin1 => String::from_utf8(bytes).unwrap().chars().map(|char| char as u8).collect(),
                Filter::Zlib => miniz_oxide::inflate::decompress_to_vec_zlib(&bytes).unwrap(),
                _ => return None,
            };
        }
        assert!(bytes.len() as u64 >= piece.decoded_bytes || matches!(piece.stored, Stored::Fill(_)), "{tensor:?}");
        let bytes = bytes.get(piece.first_byte as usize..)?;
        let (offsets, shape, run) = match &piece.region {
            Region::Whole => (vec![0; tensor.shape.len()], tensor.shape.clone(), None),
            Region::Box { offsets, shape } => (offsets.clone(), shape.clone(), None),
            Region::Run { first, len } => (vec![], vec![*len], Some(*first)),
        };
        if packed {
            out = bytes.to_vec();
            continue;
        }
        let count: u64 = shape.iter().product();
        for index in 0..count {
            let mut rest = index;
            let (mut from, mut to, mut row, mut scale) = (0u64, 0u64, 1u64, 1u64);
            for axis in (0..shape.len()).rev() {
                let at = rest % shape[axis];
                rest /= shape[axis];
                from += at * piece.strides.as_ref().map_or(row, |strides| strides[axis]);
                row *= shape[axis];
                if run.is_none() {
                    to += (at + offsets[axis]) * scale;
                    scale *= tensor.shape[axis];
                }
            }
            if let Some(first) = run {
                to = first + index;
            }
            if matches!(piece.stored, Stored::Fill(_)) {
                from = 0;
            }
            let (from, to) = (from as usize * width, to as usize * width);
            out[to..to + width].copy_from_slice(&bytes[from..from + width]);
        }
    }
    Some(out)
}

fn files(root: &Path, below: &Path, out: &mut Vec<Section>) {
    let mut entries: Vec<_> = fs::read_dir(below).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(root, &path, out);
        } else {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            out.push(Section::of_bytes(name, fs::read(&path).unwrap()));
        }
    }
}

fn read(target: &Path) -> (MemoryFolder, Result<Contents, String>) {
    let limits = Limits::default();
    if target.is_file() {
        let name = target.file_name().unwrap().to_str().unwrap();
        let section = Section::of_bytes(name, fs::read(target).unwrap());
        let contents = torch::read(&section, &limits).map_err(|error| error.to_string());
        return (MemoryFolder::new(vec![section]), contents);
    }
    let mut sections = Vec::new();
    files(target, target, &mut sections);
    let folder = MemoryFolder::new(sections);
    let contents = read_folder(&folder, &limits);
    (folder, contents)
}

fn read_folder(folder: &MemoryFolder, limits: &Limits) -> Result<Contents, String> {
    let read = match () {
        () if torch::deepspeed::is(folder, "") => torch::deepspeed::read(folder, "", limits),
        () if torch::megatron::is(folder, "") => torch::megatron::read(folder, "", limits),
        () if torch::dcp::is(folder, "") => torch::dcp::read(folder, "", limits),
        () if torch::fsdp::is(folder, "") => torch::fsdp::read(folder, "", limits),
        () => return Err("no reader for this folder".to_owned()),
    };
    read.map_err(|error| error.to_string())
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn compare(
    what: &str,
    expected: &Value,
    found: &[Tensor],
    optional: &[Value],
    folder: &dyn Folder,
    faults: &mut Vec<String>,
) {
    let Some(expected) = expected.as_object() else { return };
    let by_name: BTreeMap<&str, &Tensor> = found.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    for (name, record) in expected {
        let Some(tensor) = by_name.get(name.as_str()) else {
            faults.push(format!("{what} `{name}` is missing"));
            continue;
        };
        if record["dtype"] != tensor.dtype.as_str() || record["shape"] != serde_json::json!(tensor.shape) {
            let bytes = elements(tensor, folder).map(|bytes| hex(&bytes));
            let same = if bytes.as_deref() == record["sha256"].as_str() { ", the same bytes" } else { "" };
            faults.push(format!("{what} `{name}`: {} {:?} instead of {record}{same}", tensor.dtype, tensor.shape));
            continue;
        }
        if let Some(sum) = record["sha256"].as_str() {
            let found = elements(tensor, folder).map(|bytes| hex(&bytes));
            if found.as_deref() != Some(sum) {
                faults.push(format!("{what} `{name}`: other bytes ({:?})", tensor.pieces.first()));
            }
        }
    }
    for name in by_name.keys() {
        if !expected.contains_key(*name) && !optional.iter().any(|optional| optional == name) {
            faults.push(format!("{what} `{name}` is too much"));
        }
    }
}

fn facts(expected: &Value, metadata: &Value, faults: &mut Vec<String>) {
    for (key, value) in expected.as_object().into_iter().flatten() {
        let text = metadata.to_string();
        if !text.contains(&value.to_string()) {
            faults.push(format!(
                "metadata `{key}` = {value} is not among {}",
                text.chars().take(400).collect::<String>()
            ));
        }
    }
}

#[test]
#[ignore = "needs fixtures written by torch"]
fn torch_files_are_what_torch_says() {
    let root = PathBuf::from(std::env::var("WH_FIXTURES").unwrap());
    let prefix = std::env::var("WH_FIXTURE").unwrap_or_default();
    let (mut checked, mut failed) = (0, 0);
    for format in FORMATS {
        let Ok(names) = fs::read_dir(root.join(format)) else { continue };
        let mut names: Vec<_> = names.map(|entry| entry.unwrap().path()).collect();
        names.sort();
        for path in names {
            let name = format!("{format}/{}", path.file_name().unwrap().to_str().unwrap());
            if !name.starts_with(&prefix) {
                continue;
            }
            let Ok(oracle) = fs::read(path.join("oracle.json")) else { continue };
            let oracle: Value = serde_json::from_slice(&oracle).unwrap();
            let Some(target) = oracle["target"].as_str() else { continue };
            let (folder, contents) = read(&path.join(target));
            let mut faults = Vec::new();
            match contents {
                Err(error) => faults.push(error),
                Ok(contents) => {
                    let none = Vec::new();
                    let optional = oracle["optional"].as_array().unwrap_or(&none);
                    compare("tensor", &oracle["tensors"], &contents.tensors, optional, &folder, &mut faults);
                    if let Some(expected) = oracle["optimizer"].as_object() {
                        let found = contents.optimizer.clone().unwrap_or_default();
                        compare("optimizer tensor", &expected["tensors"], &found.tensors, &[], &folder, &mut faults);
                        let kind = found.kind.map(|kind| kind.to_lowercase());
                        if expected["kind"] != serde_json::json!(kind) {
                            faults.push(format!("optimizer {kind:?} instead of {}", expected["kind"]));
                        }
                        if expected["step"] != serde_json::json!(found.step) {
                            faults.push(format!("step {:?} instead of {}", found.step, expected["step"]));
                        }
                    }
                    for (key, found) in
                        [("family", &contents.architecture.family), ("class_", &contents.architecture.class)]
                    {
                        // Families told by names alone are told elsewhere.
                        let told = found.is_some() || key == "class_";
                        if told && !oracle[key].is_null() && oracle[key] != serde_json::json!(found) {
                            faults.push(format!("{key} {found:?} instead of {}", oracle[key]));
                        }
                    }
                    facts(&oracle["metadata"], &serde_json::json!(contents.metadata), &mut faults);
                    for warning in contents.warnings.iter().take(4) {
                        println!("  {name}: {:?} {}: {}", warning.kind, warning.file, warning.message);
                    }
                    for code in contents.code.iter().take(6) {
                        println!("  {name}: code {} {}", code.name, code.way.as_str());
                    }
                }
            }
            checked += 1;
            failed += usize::from(!faults.is_empty());
            println!("{} {name}", if faults.is_empty() { "ok  " } else { "FAIL" });
            for fault in faults.iter().take(6) {
                println!("      {fault}");
            }
        }
    }
    println!("{checked} checked, {failed} failed");
    assert!(checked > 0 && failed == 0);
}

/// Every file of the fixtures, each by itself and with damage: an error or an answer, and never a panic.
#[test]
#[ignore = "needs fixtures written by torch"]
fn damaged_files_end_with_an_answer_or_an_error() {
    let root = PathBuf::from(std::env::var("WH_FIXTURES").unwrap());
    let limits = Limits::default();
    let mut seed = 7u64;
    let mut random = move |below: usize| {
        // xorshift64: any sequence will do, but always the same.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below.max(1) as u64) as usize
    };
    let mut runs = 0;
    for format in FORMATS {
        if !root.join(format).is_dir() {
            continue;
        }
        let mut sections = Vec::new();
        files(&root, &root.join(format), &mut sections);
        let known = |section: &&Section| {
            let name = section.file();
            let torch = [".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pt2", ".zip", ".joblib", ".metadata", ".tar"];
            torch.iter().any(|end| name.ends_with(end)) && section.len() < 4 << 20
        };
        for section in sections.iter().filter(known) {
            let good = section.read("file", 0, section.len()).unwrap();
            if let Err(error) = torch::read(section, &limits) {
                println!("{}: {error}", section.file());
            }
            for _ in 0..40 {
                let mut bad = good.clone();
                // The pickle stands at the front, the directory at the end.
                for _ in 0..=random(4) {
                    let near = [good.len(), 2000, 300][random(3)].min(good.len());
                    let at = if random(2) == 0 { random(near) } else { good.len() - 1 - random(near) };
                    bad[at] = random(256) as u8;
                }
                if random(4) == 0 {
                    bad.truncate(random(good.len()));
                }
                let _ = torch::read(&Section::of_bytes("bad", bad), &limits);
                runs += 1;
            }
        }
        // Whole folders, with one file damaged.
        let folders = |name: &str| name.rsplit_once("/model/").map(|(folder, _)| format!("{folder}/model/"));
        let mut targets: Vec<String> = sections.iter().filter_map(|section| folders(section.file())).collect();
        targets.dedup();
        for target in targets {
            let inside = sections.iter().filter_map(|section| {
                let name = section.file().strip_prefix(&*target)?;
                Some((name.to_owned(), section.read("file", 0, section.len()).unwrap()))
            });
            let inside: Vec<_> = inside.collect();
            for _ in 0..60 {
                let mut bad = inside.clone();
                let which = random(bad.len());
                let bytes = &mut bad[which].1;
                for _ in 0..=random(3) {
                    let (len, at) = (bytes.len(), random(bytes.len().min(4000)));
                    if len > 0 {
                        bytes[at] = random(256) as u8;
                    }
                }
                let sections = bad.into_iter().map(|(name, bytes)| Section::of_bytes(name, bytes)).collect();
                let _ = read_folder(&MemoryFolder::new(sections), &limits);
                runs += 1;
            }
        }
    }
    println!("{runs} damaged inputs");
    assert!(runs > 0);
}
