//! Files written by the libraries, read, and compared with what the libraries say is in them.
//!
//! Runs when `WH_FIXTURES` names the folder of the generated fixtures: below it `*/FORMAT/NAME/oracle.json`.

#![expect(clippy::unwrap_used, reason = "a test may fail this way")]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;
use sha2::{Digest, Sha256};
use weighthouse_format::data::Elements;
use weighthouse_format::source::{FolderFile, MemoryFolder};
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
    /// The folder that a target is, or is in.
    fn of(target: &Path) -> Self {
        Self::new(if target.is_dir() { target } else { target.parent().unwrap() })
    }

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

/// Reads the target of a fixture, whose files are in this folder.
fn read(format: &str, target: &Path, disk: &dyn Folder, limits: &Limits) -> Option<Result<Contents, FormatError>> {
    let name = if target.is_dir() { "" } else { target.file_name().unwrap().to_str().unwrap() };
    let first = |end: &str| disk.files().iter().find(|file| file.path.ends_with(end)).map(|file| file.path.to_string());
    let contents = match format {
        "gguf" => {
            let first = first(".gguf")?;
            gguf::read_split(disk, if name.is_empty() { &first } else { name }, limits)
        }
        "npy" => disk.open(name).and_then(|section| numpy::read_npy(&section, limits)),
        "npz" => disk.open(&first(".npz")?).and_then(|section| numpy::read_npz(&section, limits)),
        "flax" => disk.open(name).and_then(|section| flax::read(&section, limits)),
        "orbax" => {
            let known = orbax::is(disk, "");
            let contents = orbax::read(disk, "", limits);
            assert_eq!(known, !matches!(contents, Err(FormatError::BadMagic { what: "orbax folder" })));
            contents
        }
        _ => return None,
    };
    Some(contents)
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

/// Fixtures of our formats: the oracle, and the path of what is read.
fn fixtures(root: &Path) -> Vec<(Value, PathBuf)> {
    let formats: Vec<PathBuf> = entries(root).iter().flat_map(|kind| entries(kind)).collect();
    let oracles = formats.iter().flat_map(|format| entries(format)).map(|fixture| fixture.join("oracle.json"));
    let read = |path: PathBuf| {
        let oracle: Value = serde_json::from_slice(&fs::read(&path).ok()?).unwrap();
        let target = path.with_file_name(oracle["target"].as_str()?);
        FORMATS.contains(&format_of(&oracle)).then_some((oracle, target))
    };
    oracles.filter_map(read).collect()
}

fn format_of(oracle: &Value) -> &str {
    oracle["fixture"].as_str().and_then(|fixture| fixture.split('/').next()).unwrap_or_default()
}

#[test]
fn the_fixtures_of_the_libraries_are_read_as_the_libraries_read_them() {
    let Some(root) = std::env::var_os("WH_FIXTURES") else { return };
    let limits = Limits::default();
    let (mut count, mut wrong) = (0, Vec::new());
    for (oracle, target) in fixtures(Path::new(&root)) {
        let disk = Disk::of(&target);
        let Some(contents) = read(format_of(&oracle), &target, &disk, &limits) else { continue };
        count += 1;
        let fixture = &oracle["fixture"];
        match contents {
            Err(error) => wrong.push(format!("{fixture}: {error}")),
            Ok(contents) => wrong
                .extend(check(&contents, &oracle, &disk, &limits).into_iter().map(|text| format!("{fixture}: {text}"))),
        }
    }
    println!("{count} fixtures read");
    assert!(count > 0, "no fixtures below {root:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn damaged_fixtures_end_in_an_answer() {
    let Some(root) = std::env::var_os("WH_FIXTURES") else { return };
    let mut limits = Limits::default();
    limits.decoded_bytes = 1 << 24;
    let mut random = 7u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % below.max(1) as u64) as usize
    };
    for (oracle, target) in fixtures(Path::new(&root)) {
        let good = Memory::of(&Disk::of(&target));
        for _ in 0..DAMAGES {
            let mut damaged = good.clone();
            let file = next(damaged.0.len());
            let bytes = &mut damaged.0[file].1;
            for _ in 0..=next(3) {
                let at = next(bytes.len());
                match next(4) {
                    0 => bytes.truncate(at),
                    1 => bytes.extend_from_within(at..),
                    _ => {
                        if let Some(byte) = bytes.get_mut(at) {
                            *byte = next(256) as u8;
                        }
                    }
                }
            }
            let folder = damaged.folder();
            let Some(Ok(contents)) = read(format_of(&oracle), &target, &folder, &limits) else { continue };
            let optimizer = contents.optimizer.map(|optimizer| optimizer.tensors).unwrap_or_default();
            for tensor in contents.tensors.iter().chain(&optimizer) {
                let _ = Elements::new(&folder, tensor, &limits).and_then(|mut elements| elements.read_all());
            }
        }
    }
}

/// Damages for each fixture.
const DAMAGES: usize = 100;

/// A folder in memory, to be damaged.
#[derive(Clone)]
struct Memory(Vec<(String, Vec<u8>)>);

impl Memory {
    fn of(disk: &Disk) -> Self {
        Self(
            disk.files
                .iter()
                .map(|file| (file.path.to_string(), fs::read(disk.root.join(&*file.path)).unwrap()))
                .collect(),
        )
    }

    fn folder(&self) -> MemoryFolder {
        MemoryFolder::new(self.0.iter().map(|(path, bytes)| Section::of_bytes(path.as_str(), bytes.clone())).collect())
    }
}

/// Longest time that a hostile file may take, in seconds; the machines of tests are slow and shared.
const PATIENCE: u64 = 10;

#[test]
fn attacks_end_in_an_answer_soon() {
    let Some(root) = std::env::var_os("WH_FIXTURES") else { return };
    let attacks = Path::new(&root).join("attack");
    let mut limits = Limits::default();
    limits.decoded_bytes = 1 << 26;
    let mut count = 0;
    for format in FORMATS.into_iter().chain(["ocdbt"]) {
        for attack in entries(&attacks.join(format)) {
            let Some(target) =
                entries(&attack).into_iter().find(|path| path.file_name() != Some("oracle.json".as_ref()))
            else {
                continue;
            };
            let disk = Disk::of(&target);
            let began = Instant::now();
            let Some(found) = read(if format == "ocdbt" { "orbax" } else { format }, &target, &disk, &limits) else {
                continue;
            };
            count += 1;
            let said = match &found {
                Err(error) => error.to_string(),
                Ok(contents) => format!("{} tensors, {:?}", contents.tensors.len(), contents.warnings.first()),
            };
            let mut failed = 0;
            for tensor in found.map(|contents| contents.tensors).unwrap_or_default().iter().take(100) {
                let read = Elements::new(&disk, tensor, &limits).and_then(|mut elements| elements.read_all());
                failed += usize::from(read.is_err());
            }
            let said: String = said.chars().take(160).collect();
            println!("{format}/{}: {said:?}, {failed} unread", attack.file_name().unwrap().display());
            assert!(began.elapsed().as_secs() < PATIENCE, "{}: {:?}", attack.display(), began.elapsed());
        }
    }
    println!("{count} attacks");
}
