//! Renames a checkpoint and writes what comes out as plain bytes, for comparisons with other programs.
//!
//! ```text
//! remap SRC NAMING OUT [BASE]     OUT/index.json: names, dtypes, shapes, offsets; OUT/data.bin: the elements
//! remap ties CLASS NAME NAME …    which of the names is kept
//! remap copies CLASS SRC          names that a torch file of this class has besides
//! ```

#![expect(clippy::print_stdout, reason = "it is a program")]

use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use weighthouse_format::data::Elements;
use weighthouse_format::number::{Numbers, numbers};
use weighthouse_format::remap::{self, Affine, Input, NamingKind, dequantise, ties};
use weighthouse_format::source::FolderFile;
use weighthouse_format::{Folder, FormatError, Limits, ReadAt, Section, Tensor, checkpoint};

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
    fn new(root: &Path) -> Result<Self, Box<dyn Error>> {
        let mut files = Vec::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Some(name) = path.strip_prefix(root)?.to_str() {
                    files.push(FolderFile { path: name.into(), size_bytes: entry.metadata()?.len() });
                }
            }
        }
        files.sort();
        Ok(Self { root: root.to_owned(), files })
    }
}

impl Folder for Disk {
    fn files(&self) -> &[FolderFile] {
        &self.files
    }

    fn open(&self, path: &str) -> Result<Section, FormatError> {
        let file = fs::File::open(self.root.join(path)).map_err(|source| FormatError::Io { what: "file", source })?;
        Ok(Section::new(path, Arc::new(File(file))))
    }
}

fn read(path: &Path, limits: &Limits) -> Result<(Disk, checkpoint::Checkpoint), Box<dyn Error>> {
    if path.is_dir() {
        let disk = Disk::new(path)?;
        let checkpoint = checkpoint::read(&disk, limits)?;
        return Ok((disk, checkpoint));
    }
    let disk = Disk::new(path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new(".")))?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let checkpoint = checkpoint::read_file(&disk, name, limits)?;
    Ok((disk, checkpoint))
}

/// Elements of a tensor as `f32`.
fn floats(disk: &Disk, tensor: &Tensor, limits: &Limits) -> Result<Vec<f32>, FormatError> {
    let bytes = Elements::new(disk, tensor, limits)?.read_all()?;
    Ok(match numbers(tensor.dtype, &bytes)? {
        Numbers::Single(numbers) => numbers,
        Numbers::Double(numbers) => numbers.into_iter().map(|number| number as f32).collect(),
    })
}

fn computed(disk: &Disk, words: &Tensor, affine: &Affine, limits: &Limits) -> Result<Vec<u8>, Box<dyn Error>> {
    let elements = Tensor::checked_elements(&affine.shape(words)?).unwrap_or(0);
    let bytes = Elements::new(disk, words, limits)?.read_all()?;
    let (scales, biases) = (floats(disk, &affine.scales, limits)?, floats(disk, &affine.biases, limits)?);
    let mut out = vec![0.0; usize::try_from(elements)?];
    dequantise(&bytes, &scales, &biases, affine.bits, usize::try_from(affine.group_size)?, &mut out)?;
    Ok(out.into_iter().flat_map(f32::to_le_bytes).collect())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let limits = Limits::default();
    match arguments.as_slice() {
        ["ties", class, names @ ..] => {
            let choices = ties::keep(Some(class), &[names.to_vec()]);
            let choices: Vec<Value> =
                choices.iter().map(|choice| json!({"kept": choice.kept, "known": choice.known})).collect();
            println!("{}", Value::from(choices));
        }
        ["copies", class, source] => {
            let (_, checkpoint) = read(Path::new(source), &limits)?;
            let tied = checkpoint.contents.architecture.config.get("tie_word_embeddings").and_then(Value::as_bool);
            let names: Vec<&str> = checkpoint.contents.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
            println!("{}", json!(ties::copies(class, tied, &names)));
        }
        [source, naming, out, base @ ..] => {
            let (disk, checkpoint) = read(Path::new(source), &limits)?;
            let base = base.first().map(|base| read(Path::new(base), &limits)).transpose()?;
            let base = base.as_ref().map(|(_, checkpoint)| checkpoint.contents.tensors.as_slice());
            let input = Input { contents: &checkpoint.contents, folder: &disk, limits: &limits, base };
            let to = NamingKind::parse(naming).ok_or("this is no naming")?;
            let found = remap::naming(&checkpoint.contents);
            println!("{found}");
            let remapped = remap::remap(&input, to)?;
            let out = Path::new(out);
            fs::create_dir_all(out)?;
            let mut data = io::BufWriter::new(fs::File::create(out.join("data.bin"))?);
            let (mut at, mut components) = (0, Vec::new());
            for component in &remapped.components {
                let mut tensors = Vec::new();
                for tensor in &component.tensors {
                    let source = &tensor.recipe.source;
                    let (bytes, dtype) = match component.affine.get(&tensor.name) {
                        Some(affine) => (computed(&disk, source, affine, &limits)?, "F32"),
                        None => (Elements::new(&disk, source, &limits)?.read_all()?, tensor.dtype.as_str()),
                    };
                    data.write_all(&bytes)?;
                    let (name, shape, len) = (&tensor.name, &tensor.shape, bytes.len());
                    tensors.push(json!({"name": name, "dtype": dtype, "shape": shape, "at": at, "len": len}));
                    at += len;
                }
                let (folder, stem, metadata) = (&component.folder, component.stem, &component.metadata);
                components.push(json!({"folder": folder, "stem": stem, "metadata": metadata, "tensors": tensors}));
            }
            data.flush()?;
            let envelope = remapped.envelope.map(|envelope| json!({"key": envelope.key, "beside": envelope.beside}));
            let index = json!({
                "naming": found.to_string(), "components": components, "documents": remapped.documents,
                "notes": remapped.notes, "envelope": envelope,
            });
            fs::write(out.join("index.json"), serde_json::to_vec_pretty(&index)?)?;
        }
        _ => return Err("give a checkpoint, a naming and a folder".into()),
    }
    Ok(())
}
