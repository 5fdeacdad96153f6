//! Files written by the libraries, read, and compared with what the libraries say is in them.
//!
//! Runs when `WH_FIXTURES` names the folder of the generated fixtures: below it `*/FORMAT/NAME/oracle.json`.

#![expect(clippy::unwrap_used, reason = "a test may fail this way")]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest, Sha256};
use weighthouse_format::data::Elements;
use weighthouse_format::source::FolderFile;
use weighthouse_format::{Contents, Folder, FormatError, Limits, ReadAt, Section, Tensor, flax, gguf, numpy, orbax};

const FORMATS: [&str; 5] = ["gguf", "npy", "npz", "flax", "orbax"];

struct Bytes(Vec<u8>);

impl ReadAt for Bytes {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, buffer)
    }
}

/// A folder on disk.
struct Disk {
    root: PathBuf,
    files: Vec<FolderFile>,
}

impl Disk {
    fn new(root: &Path) -> Self {
        let mut files = Vec::new();
        let mut open = vec![root.to_owned()];
        while let Some(folder) = open.pop() {
            for path in entries(&folder) {
                if path.is_dir() {
                    open.push(path);
                } else {
                    let name = path.strip_prefix(root).unwrap().to_str().unwrap();
                    files.push(FolderFile { path: Arc::from(name), size_bytes: path.metadata().unwrap().len() });
                }
            }
        }
        files.sort();
        Self { root: root.to_owned(), files }
    }
}

/// What is in a folder; nothing if it is none.
fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

impl Folder for Disk {
    fn files(&self) -> &[FolderFile] {
        &self.files
    }

    fn open(&self, path: &str) -> Result<Section, FormatError> {
        if !self.has(path) {
            return Err(FormatError::NoFile { path: path.to_owned() });
        }
        let bytes = fs::read(self.root.join(path)).map_err(|source| FormatError::Io { what: "fixture", source })?;
        Ok(Section::new(path, Arc::new(Bytes(bytes))))
    }
}

/// Reads the target of a fixture, and gives the folder that its tensors' files are in.
fn read(format: &str, target: &Path, limits: &Limits) -> Option<(Disk, Result<Contents, FormatError>)> {
    let root = if target.is_dir() { target } else { target.parent().unwrap() };
    let disk = Disk::new(root);
    let name = if target.is_dir() { "" } else { target.file_name().unwrap().to_str().unwrap() };
    let first = |end: &str| disk.files.iter().find(|file| file.path.ends_with(end)).map(|file| file.path.to_string());
    let contents = match format {
        "gguf" => {
            let first = first(".gguf")?;
            gguf::read_split(&disk, if name.is_empty() { &first } else { name }, limits)
        }
        "npy" => disk.open(name).and_then(|section| numpy::read_npy(&section, limits)),
        "npz" => disk.open(&first(".npz")?).and_then(|section| numpy::read_npz(&section, limits)),
        "flax" => disk.open(name).and_then(|section| flax::read(&section, limits)),
        "orbax" => {
            assert!(orbax::is(&disk, ""), "{}", target.display());
            orbax::read(&disk, "", limits)
        }
        _ => return None,
    };
    Some((disk, contents))
}

/// What is wrong with a list of tensors.
fn differences(found: &[Tensor], oracle: &Value, optional: &[&str], folder: &Disk, limits: &Limits) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut found: BTreeMap<&str, &Tensor> = found.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    for (name, expected) in oracle.as_object().unwrap() {
        let Some(tensor) = found.remove(name.as_str()) else {
            if !optional.contains(&name.as_str()) {
                wrong.push(format!("`{name}` is missing"));
            }
            continue;
        };
        if tensor.dtype.as_str() != expected["dtype"] {
            wrong.push(format!("`{name}` is {}, not {}", tensor.dtype, expected["dtype"]));
        }
        if Value::from(tensor.shape.clone()) != expected["shape"] {
            wrong.push(format!("`{name}` has the shape {:?}, not {}", tensor.shape, expected["shape"]));
        }
        let Some(digest) = expected["sha256"].as_str() else { continue };
        match Elements::new(folder, tensor, limits).and_then(|mut elements| elements.read_all()) {
            Err(error) => wrong.push(format!("`{name}`: {error}")),
            Ok(bytes) => {
                if hex(&bytes) != digest {
                    wrong.push(format!("`{name}` has other elements"));
                }
                if let Some(digest) = expected["dequantized_sha256"].as_str() {
                    wrong.extend(dequantised(tensor, &bytes, digest));
                }
            }
        }
    }
    wrong.extend(found.keys().filter(|name| !optional.contains(name)).map(|name| format!("`{name}` is not expected")));
    wrong
}

fn dequantised(tensor: &Tensor, blocks: &[u8], digest: &str) -> Option<String> {
    let mut out = vec![0.0f32; usize::try_from(tensor.elements()).unwrap()];
    gguf::dequant::dequantise(tensor.dtype, blocks, &mut out).unwrap();
    let bytes: Vec<u8> = out.iter().flat_map(|number| number.to_le_bytes()).collect();
    (hex(&bytes) != digest).then(|| format!("`{}` is dequantised to other numbers", tensor.name))
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What is wrong with what was read of a fixture.
fn check(contents: &Contents, oracle: &Value, folder: &Disk, limits: &Limits) -> Vec<String> {
    let mut wrong = Vec::new();
    let optional: Vec<&str> = oracle["optional"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    if !oracle["tensors"].is_null() {
        wrong.extend(differences(&contents.tensors, &oracle["tensors"], &optional, folder, limits));
    }
    // Configurations beside the arrays are read elsewhere.
    if oracle["fixture"] == "npz/mlx" {
        return wrong;
    }
    if let Some(family) =
        oracle["family"].as_str().filter(|&family| contents.architecture.family.as_deref() != Some(family))
    {
        wrong.push(format!("the family is {:?}, not `{family}`", contents.architecture.family));
    }
    for (key, value) in oracle["metadata"].as_object().unwrap() {
        if contents.metadata.get(key) != Some(value) {
            wrong.push(format!("metadata `{key}` is {:?}, not {value}", contents.metadata.get(key)));
        }
    }
    match (&contents.optimizer, &oracle["optimizer"]) {
        (_, Value::Null) => {}
        (None, _) => wrong.push("there is no optimizer".to_owned()),
        (Some(optimizer), expected) => {
            if optimizer.kind.as_deref().map(str::to_lowercase).as_deref() != expected["kind"].as_str() {
                wrong.push(format!("the optimizer is {:?}, not {}", optimizer.kind, expected["kind"]));
            }
            if optimizer.step != expected["step"].as_u64() {
                wrong.push(format!("the step is {:?}, not {}", optimizer.step, expected["step"]));
            }
            wrong.extend(differences(&optimizer.tensors, &expected["tensors"], &optional, folder, limits));
        }
    }
    wrong
}

#[test]
fn the_fixtures_of_the_libraries_are_read_as_the_libraries_read_them() {
    let Some(root) = std::env::var_os("WH_FIXTURES") else { return };
    let limits = Limits::default();
    let (mut read_fixtures, mut wrong) = (0, Vec::new());
    let formats: Vec<PathBuf> = entries(Path::new(&root)).iter().flat_map(|kind| entries(kind)).collect();
    for path in formats.iter().flat_map(|format| entries(format)).map(|fixture| fixture.join("oracle.json")) {
        let Ok(oracle) = fs::read(&path) else { continue };
        let oracle: Value = serde_json::from_slice(&oracle).unwrap();
        let (Some(fixture), Some(target)) = (oracle["fixture"].as_str(), oracle["target"].as_str()) else { continue };
        let format = fixture.split('/').next().unwrap();
        if !FORMATS.contains(&format) {
            continue;
        }
        let Some((disk, contents)) = read(format, &path.with_file_name(target), &limits) else { continue };
        read_fixtures += 1;
        match contents {
            Err(error) => wrong.push(format!("{fixture}: {error}")),
            Ok(contents) => wrong
                .extend(check(&contents, &oracle, &disk, &limits).into_iter().map(|text| format!("{fixture}: {text}"))),
        }
    }
    println!("{read_fixtures} fixtures read");
    assert!(read_fixtures > 0, "no fixtures below {root:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
