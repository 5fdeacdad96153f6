//! Files that the libraries themselves wrote, against what those libraries read back.
//!
//! `WH_FIXTURES` names a folder of `SET/FORMAT/NAME/` folders, each with an `oracle.json`; without it there is nothing to
//! compare, and the tests say so.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "tests fail loudly, and say when there is nothing to do")]

mod material;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value as Json;
use weighthouse_format::source::FolderFile;
use weighthouse_format::{Contents, Folder, FormatError, Limits, ReadAt, Section, Tensor};

struct File(fs::File);

impl ReadAt for File {
    fn len(&self) -> u64 {
        self.0.metadata().map_or(0, |metadata| metadata.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }
}

struct Disk {
    root: PathBuf,
    files: Vec<FolderFile>,
}

impl Disk {
    fn new(root: &Path) -> Self {
        let mut files = Vec::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(root).unwrap().to_str().unwrap().into();
                    files.push(FolderFile { path: name, size_bytes: entry.metadata().unwrap().len() });
                }
            }
        }
        files.sort();
        Self { root: root.to_owned(), files }
    }
}

impl Folder for Disk {
    fn files(&self) -> &[FolderFile] {
        &self.files
    }

    fn open(&self, path: &str) -> Result<Section, FormatError> {
        if !self.has(path) {
            return Err(FormatError::NoFile { path: path.to_owned() });
        }
        let file = fs::File::open(self.root.join(path)).map_err(|source| FormatError::Io { what: "file", source })?;
        Ok(Section::new(path, Arc::new(File(file))))
    }
}

/// Fixtures of these formats.
fn fixtures(format: &str) -> Vec<PathBuf> {
    let Some(root) = std::env::var_os("WH_FIXTURES") else {
        eprintln!("WH_FIXTURES is not set: nothing to compare");
        return Vec::new();
    };
    let mut found = Vec::new();
    for set in ["torch", "tf"] {
        let folder = Path::new(&root).join(set).join(format);
        if folder.is_dir() {
            found.extend(fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no fixtures of {format}");
    found
}

/// The differences between what was read and what the library says.
fn compare(folder: &dyn Folder, contents: &Contents, oracle: &Json) -> Vec<String> {
    let mut wrong = Vec::new();
    let optional: Vec<&str> = oracle["optional"].as_array().unwrap().iter().filter_map(Json::as_str).collect();
    let mut check = |what: &str, tensors: &[Tensor], oracle: &Json| {
        let mut expected: BTreeMap<&str, &Json> =
            oracle.as_object().unwrap().iter().map(|(name, value)| (name.as_str(), value)).collect();
        for tensor in tensors {
            let Some(expected) = expected.remove(tensor.name.as_str()) else {
                if !optional.contains(&tensor.name.as_str()) {
                    wrong.push(format!("{what}: `{}` is not there", tensor.name));
                }
                continue;
            };
            let (dtype, shape) = (tensor.dtype.to_string(), Json::from(tensor.shape.clone()));
            if expected["dtype"] != dtype.as_str() || expected["shape"] != shape {
                wrong.push(format!("{what}: `{}` is {dtype} {shape}, not {expected}", tensor.name));
            } else if let Some(sha256) = expected["sha256"].as_str() {
                match material::sha256(folder, tensor) {
                    Ok(actual) if actual == sha256 => {}
                    answer => wrong.push(format!("{what}: `{}` has {answer:?}: {tensor:?}", tensor.name)),
                }
            }
        }
        wrong
            .extend(expected.keys().filter(|name| !optional.contains(name)).map(|name| format!("{what}: no `{name}`")));
    };
    if !oracle["tensors"].is_null() {
        check("tensors", &contents.tensors, &oracle["tensors"]);
    }
    let expected = &oracle["optimizer"];
    if !expected.is_null() {
        let Some(optimizer) = &contents.optimizer else {
            wrong.push("no optimizer".into());
            return wrong;
        };
        check("optimizer", &optimizer.tensors, &expected["tensors"]);
        let kind = optimizer.kind.as_deref().map(str::to_lowercase);
        if kind.as_deref() != expected["kind"].as_str() {
            wrong.push(format!("optimizer is {kind:?}, not {}", expected["kind"]));
        }
        if optimizer.step != expected["step"].as_u64() {
            wrong.push(format!("step is {:?}, not {}", optimizer.step, expected["step"]));
        }
    }
    if let Some(class) = oracle["class_"].as_str()
        && contents.architecture.class.as_deref() != Some(class)
    {
        wrong.push(format!("class is {:?}, not {class}", contents.architecture.class));
    }
    let metadata = Json::Object(contents.metadata.clone()).to_string();
    for (key, value) in oracle["metadata"].as_object().unwrap() {
        if !metadata.contains(&value.to_string()) {
            wrong.push(format!("{key} {value} is not in {metadata}"));
        }
    }
    wrong
}

fn check(format: &str, read: impl Fn(&Disk, &str) -> Result<Contents, FormatError>) {
    let mut wrong = Vec::new();
    for fixture in fixtures(format) {
        let oracle: Json = serde_json::from_slice(&fs::read(fixture.join("oracle.json")).unwrap()).unwrap();
        let target = oracle["target"].as_str().unwrap_or_default();
        let path = fixture.join(target);
        let (root, file) = match path.is_dir() {
            true => (path, ""),
            false => (fixture.clone(), target),
        };
        let folder = Disk::new(&root);
        match read(&folder, file) {
            Err(error) => wrong.push(format!("{}: {error}", fixture.display())),
            Ok(contents) => {
                let found = compare(&folder, &contents, &oracle);
                wrong.extend(found.into_iter().map(|text| format!("{}: {text}", fixture.display())));
                let warnings = contents.warnings.iter().map(|warning| &warning.message);
                wrong.extend(warnings.map(|text| format!("{}: warning: {text}", fixture.display())));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Reads damaged copies: every one must end with an answer, and none may panic.
fn damage(format: &str, read: impl Fn(&Section) -> Result<Contents, FormatError>) {
    let mut random = 7u64;
    let mut next = move |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below.max(1)
    };
    let rounds = std::env::var("WH_ROUNDS").map_or(60, |rounds| rounds.parse().unwrap());
    for fixture in fixtures(format) {
        let folder = Disk::new(&fixture);
        for file in folder.files.iter().filter(|file| !file.path.ends_with(".json") && file.size_bytes > 0) {
            let good = fs::read(fixture.join(&*file.path)).unwrap();
            // Structure stands at the front of some formats, and at the end of others.
            for round in 0..rounds {
                let mut bad = good.clone();
                for _ in 0..=next(3) {
                    let near = good.len().min([good.len(), 600, 4096][round % 3]);
                    let at = if round % 4 == 3 { good.len() - 1 - next(near) } else { next(near) };
                    bad[at] = [next(256) as u8, 0xff, bad[at] ^ 1][next(3)];
                }
                if round % 5 == 4 {
                    bad.truncate(next(good.len()));
                }
                let _ = read(&Section::of_bytes("damaged", bad));
            }
        }
    }
}

#[test]
fn damaged_files_never_panic() {
    let limits = Limits::default();
    let memory = |section: &Section| {
        let name = Section::of_bytes("m", section.read("all", 0, section.len()).unwrap());
        weighthouse_format::source::MemoryFolder::new(vec![name])
    };
    damage("hdf5", |section| weighthouse_format::h5::read(section, &limits));
    for format in ["keras", "keras-h5", "keras-weights"] {
        damage(format, |section| weighthouse_format::keras::read(section, &limits));
    }
    damage("onnx", |section| weighthouse_format::onnx::read(&memory(section), "m", &limits));
    damage("tensorflow", |section| {
        let _ = weighthouse_format::tf::read_v1(section, &limits);
        weighthouse_format::tf::read_bundle(&memory(section), "m", &limits)
    });
}

/// The only file with this ending.
fn with_ending(folder: &Disk, ending: &str) -> String {
    folder.files.iter().find(|file| file.path.ends_with(ending)).unwrap().path.to_string()
}

#[test]
fn onnx_models_read_as_onnx_reads_them() {
    check("onnx", |folder, path| {
        let path = if path.is_empty() { with_ending(folder, ".onnx") } else { path.to_owned() };
        weighthouse_format::onnx::read(folder, &path, &Limits::default())
    });
}

#[test]
fn tensorflow_checkpoints_read_as_tensorflow_reads_them() {
    check("tensorflow", |folder, path| {
        let limits = Limits::default();
        if path.is_empty() && weighthouse_format::tf::bundles(folder).is_empty() {
            let table =
                folder.files.iter().find(|file| weighthouse_format::tf::is_table(&folder.open(&file.path).unwrap()));
            return weighthouse_format::tf::read_v1(&folder.open(&table.unwrap().path)?, &limits);
        }
        let index = if path.is_empty() { weighthouse_format::tf::latest(folder).unwrap() } else { path.to_owned() };
        weighthouse_format::tf::read_bundle(folder, &index, &limits)
    });
}

#[test]
fn saved_models_read_as_tensorflow_reads_them() {
    check("saved-model", |folder, _| {
        assert_eq!(weighthouse_format::tf::saved_models(folder), [""]);
        weighthouse_format::tf::read_saved_model(folder, "", &Limits::default())
    });
}

#[test]
fn hdf5_files_read_as_h5py_reads_them() {
    check("hdf5", |folder, path| weighthouse_format::h5::read(&folder.open(path)?, &Limits::default()));
}

#[test]
fn keras_files_read_as_keras_reads_them() {
    for format in ["keras", "keras-h5", "keras-weights"] {
        check(format, |folder, path| match path {
            "" => weighthouse_format::keras::read_sharded(folder, "model.weights.json", &Limits::default()),
            path => weighthouse_format::keras::read(&folder.open(path)?, &Limits::default()),
        });
    }
}
