use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use weighthouse_format::source::{FolderFile, MemoryFolder};
use weighthouse_format::{Dtype, Folder, FormatError, ReadAt, Section};

use super::*;
use crate::local::LocalFolder;
use crate::source::{Facts, Source};

/// Files in memory whose stamps say nothing.
struct Still;

impl Facts for Still {
    fn stamp(&self, _path: &str) -> String {
        String::new()
    }
}

impl Facts for LocalFolder {
    fn stamp(&self, path: &str) -> String {
        LocalFolder::stamp(self, path)
    }
}

/// A safetensors file with tensors of ascending `F32`.
fn weights(tensors: &[(&str, &[u64])]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for (name, shape) in tensors {
        let begin = data.len();
        let elements: u64 = shape.iter().product();
        for at in 0..elements {
            data.extend_from_slice(&(at as f32 * 0.37 - 3.0).to_le_bytes());
        }
        let entry = serde_json::json!({ "dtype": "F32", "shape": shape, "data_offsets": [begin, data.len()] });
        header.insert((*name).to_owned(), entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(&header);
    file.extend_from_slice(&data);
    file
}

fn memory(files: &[(&str, Vec<u8>)]) -> MemoryFolder {
    MemoryFolder::new(files.iter().map(|(path, bytes)| Section::of_bytes(*path, bytes.clone())).collect())
}

fn options(destination: &Path, change: impl FnOnce(&mut Options)) -> Options {
    let mut options = Options { to: Form::of_path(destination), ..Options::default() };
    change(&mut options);
    options
}

fn run(source: &Source<'_>, options: &Options, destination: &Path) -> Result<Record, Error> {
    let name = destination.file_name().and_then(|name| name.to_str());
    let plan = plan(source, options, name)?;
    convert(source, &plan, destination, false, &|_, _| {})
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_model_folder_is_written_with_its_documents_and_a_record_that_verifies() {
    let files = [
        ("config.json", br#"{"model_type": "bert", "torch_dtype": "float32"}"#.to_vec()),
        ("model.safetensors", weights(&[("a.weight", &[4, 3]), ("a.bias", &[4]), ("b.weight", &[2, 4])])),
        ("tokenizer.json", b"{}".to_vec()),
        ("modeling_x.py", b"import os".to_vec()),
    ];
    let folder = memory(&files);
    let source = Source { folder: &folder, file: None, facts: &Still };
    let place = tempfile::tempdir().unwrap();
    let destination = place.path().join("out");
    let options = options(&destination, |options| options.dtype = Some(WeightType::Dtype(Dtype::BF16)));
    let record = run(&source, &options, &destination).unwrap();
    assert_eq!(names(&destination), ["config.json", "model.safetensors", "tokenizer.json", "weighthouse.convert.json"]);
    assert_eq!(names(place.path()), ["out"], "nothing is left beside the destination");
    let config = std::fs::read_to_string(destination.join("config.json")).unwrap();
    assert!(config.contains(r#""torch_dtype": "bfloat16""#), "{config}");
    assert!(record.notes.iter().any(|note| note.contains("modeling_x.py")), "{:?}", record.notes);
    let written = LocalFolder::open(&destination).unwrap();
    let found = crate::inspect::inspect(&written, None, crate::inspect::Options::default(), &|_, _| {}).unwrap();
    let shapes: Vec<(&str, Dtype, &[u64])> = found
        .checkpoint
        .contents
        .tensors
        .iter()
        .map(|tensor| (tensor.name.as_str(), tensor.dtype, tensor.shape.as_slice()))
        .collect();
    assert_eq!(
        shapes,
        [
            ("a.bias", Dtype::BF16, [4].as_slice()),
            ("a.weight", Dtype::BF16, &[4, 3]),
            ("b.weight", Dtype::BF16, &[2, 4])
        ]
    );
    let (found, at) = Record::find(&destination).unwrap();
    let again = verify(&found, &at, Some(&source), &|_, _| {}).unwrap();
    assert!(again.is_right() && again.again.len() == 3 && again.inputs.len() == 3, "{again:?}");
    std::fs::write(destination.join("tokenizer.json"), b"{ }").unwrap();
    let again = verify(&found, &at, None, &|_, _| {}).unwrap();
    assert!(!again.is_right());
}

#[test]
fn a_destination_that_is_there_is_refused_before_any_work() {
    let folder = memory(&[("model.safetensors", weights(&[("w", &[2])]))]);
    let source = Source { folder: &folder, file: Some("model.safetensors"), facts: &Still };
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("there.safetensors");
    std::fs::write(&file, b"precious").unwrap();
    let refused = run(&source, &options(&file, |_| {}), &file);
    assert!(matches!(refused, Err(Error::Exists { .. })), "{refused:?}");
    assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    assert_eq!(names(place.path()), ["there.safetensors"]);
    let full = place.path().join("full");
    std::fs::create_dir(&full).unwrap();
    std::fs::write(full.join("x"), b"").unwrap();
    assert!(matches!(run(&source, &options(&full, |_| {}), &full), Err(Error::Exists { .. })));
    let nowhere = place.path().join("no/such/out.safetensors");
    assert!(matches!(run(&source, &options(&nowhere, |_| {}), &nowhere), Err(Error::NotFound { .. })));
}

/// A folder whose files fail after so many bytes were read of them in all.
struct Failing {
    inner: MemoryFolder,
    left: Arc<AtomicU64>,
}

struct FailingFile {
    inner: Section,
    left: Arc<AtomicU64>,
}

impl Folder for Failing {
    fn files(&self) -> &[FolderFile] {
        self.inner.files()
    }

    fn open(&self, path: &str) -> Result<Section, FormatError> {
        let inner = self.inner.open(path)?;
        Ok(Section::new(path, Arc::new(FailingFile { inner, left: Arc::clone(&self.left) })))
    }
}

impl ReadAt for FailingFile {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let spend = |left: u64| left.checked_sub(buffer.len() as u64);
        if self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_err() {
            return Err(io::Error::other("the source is gone"));
        }
        self.inner.read_into("bytes", offset, buffer).map_err(io::Error::other)
    }
}

#[test]
fn a_conversion_whose_source_vanishes_leaves_nothing_and_goes_on_later_to_the_same_bytes() {
    let tensors: Vec<(String, Vec<u64>)> = (0..40).map(|at| (format!("layer.{at}.w"), vec![64, 64])).collect();
    let tensors: Vec<(&str, &[u64])> = tensors.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect();
    let inner = || memory(&[("model.safetensors", weights(&tensors))]);
    let whole = inner();
    let place = tempfile::tempdir().unwrap();
    let change = |options: &mut Options| options.max_shard_bytes = Some(100_000);
    let expected = place.path().join("expected");
    let source = Source { folder: &whole, file: None, facts: &Still };
    let record = run(&source, &options(&expected, change), &expected).unwrap();
    let mut failed = 0;
    for budget in (0..12).map(|step| 30_000 + step * 120_000) {
        let destination = place.path().join(format!("at-{budget}"));
        let left = Arc::new(AtomicU64::new(budget));
        let failing = Failing { inner: inner(), left: Arc::clone(&left) };
        let source = Source { folder: &failing, file: None, facts: &Still };
        let stopped = run(&source, &options(&destination, change), &destination);
        if stopped.is_err() {
            failed += 1;
            assert!(!destination.exists(), "half a conversion is at the destination");
        }
        left.store(u64::MAX, Ordering::Relaxed);
        if !destination.exists() {
            let resumed = run(&source, &options(&destination, change), &destination).unwrap();
            assert_eq!(resumed.outputs, record.outputs);
        }
        for file in &record.outputs {
            let (one, other) = (expected.join(&file.path), destination.join(&file.path));
            assert_eq!(std::fs::read(one).unwrap(), std::fs::read(other).unwrap());
        }
        assert!(!partial(&destination).unwrap().exists());
    }
    assert!(failed > 5, "only {failed} runs were cut off");
}

#[test]
fn what_an_earlier_run_left_is_used_only_if_its_bytes_are_right() {
    let folder = memory(&[("model.safetensors", weights(&[("a", &[100]), ("b", &[100])]))]);
    let source = Source { folder: &folder, file: None, facts: &Still };
    let place = tempfile::tempdir().unwrap();
    let good = place.path().join("good.safetensors");
    let record = run(&source, &options(&good, |_| {}), &good).unwrap();
    let destination = place.path().join("out.safetensors");
    let asked = options(&destination, |_| {});
    let plan = plan(&source, &asked, Some("out.safetensors")).unwrap();
    let staged = partial(&destination).unwrap();
    std::fs::create_dir_all(staged.join("out")).unwrap();
    let digest = &record.outputs[0].sha256;
    let size = record.outputs[0].size_bytes;
    let journal = format!(
        "{{\"plan\":\"{}\"}}\n{{\"complete\":{{\"file\":0,\"written\":{{\"path\":\"out.safetensors\",\"size_bytes\":{size},\"sha256\":\"{digest}\"}}}}}}\n{{\"reach",
        plan.fingerprint(None)
    );
    std::fs::write(staged.join("journal"), journal).unwrap();
    // As long as the right one, but other bytes: a machine that lost power could leave this.
    std::fs::write(staged.join("out/out.safetensors"), vec![0; size as usize]).unwrap();
    let written = convert(&source, &plan, &destination, false, &|_, _| {}).unwrap();
    assert_eq!(written.outputs[0].sha256, *digest);
    assert_eq!(std::fs::read(&destination).unwrap(), std::fs::read(&good).unwrap());
}

#[test]
fn a_source_that_changes_is_refused_by_name() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("model.safetensors");
    std::fs::write(&path, weights(&[("w", &[1000])])).unwrap();
    let (folder, file) = LocalFolder::of_file(&path).unwrap();
    let source = Source { folder: &folder, file: Some(&file), facts: &folder };
    let destination = place.path().join("out.safetensors");
    let plan = plan(&source, &options(&destination, |_| {}), Some("out.safetensors")).unwrap();
    std::fs::write(&path, weights(&[("w", &[1001])])).unwrap();
    let refused = convert(&source, &plan, &destination, false, &|_, _| {});
    assert!(matches!(&refused, Err(Error::SourceChanged { file }) if file == "model.safetensors"), "{refused:?}");
    assert!(!destination.exists());
}

#[test]
fn two_processes_do_not_write_to_one_destination() {
    let place = tempfile::tempdir().unwrap();
    let destination = place.path().join("out.safetensors");
    let first = Staging::open(&destination, "plan", 1).unwrap();
    assert!(matches!(Staging::open(&destination, "plan", 1), Err(Error::Exists { .. })));
    drop(first);
    Staging::open(&destination, "plan", 1).unwrap();
}

#[test]
fn what_cannot_be_is_refused_with_what_can() {
    let folder = memory(&[("model.safetensors", weights(&[("w", &[3, 5])]))]);
    let source = Source { folder: &folder, file: None, facts: &Still };
    let refused = |name: &str, change: fn(&mut Options)| {
        let plan = plan(&source, &options(Path::new(name), change), Some(name));
        plan.err().map(|error| error.to_string()).unwrap_or_default()
    };
    let said = refused("m.safetensors", |options| options.dtype = Some(WeightType::Dtype(Dtype::Q80)));
    assert!(said.contains(".gguf"), "{said}");
    let said = refused("m.npz", |options| options.max_shard_bytes = Some(5000));
    assert!(said.contains("folder"), "{said}");
    let said = refused("m.npz", |options| options.dtype = Some(WeightType::Dtype(Dtype::BF16)));
    assert!(said.contains("BF16") && said.contains("dtype"), "{said}");
    let said = refused("out", |options| options.naming = Some("klingon".to_owned()));
    assert!(said.contains("diffusers"), "{said}");
    let said = refused("m.gguf", |_| {});
    assert!(said.contains("config.json") || said.contains("architecture"), "{said}");
    let said = refused("out", |options| options.parts = Parts { model: false, optimizer: false });
    assert!(said.contains("optimizer"), "{said}");
}

#[test]
fn a_record_from_outside_names_files_of_its_own_folder_only() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("weighthouse.convert.json");
    let record = |output: &str| {
        serde_json::json!({
            "schema": "weighthouse.convert/1", "version": "0", "options": {}, "inputs": [], "tensors": 0, "notes": [],
            "outputs": [{ "path": output, "size_bytes": 1, "sha256": "00" }],
        })
        .to_string()
    };
    for output in ["../x", "/etc/passwd", "a/../../x", "a//b", ""] {
        std::fs::write(&path, record(output)).unwrap();
        let (found, folder) = Record::find(place.path()).unwrap();
        assert!(matches!(verify(&found, &folder, None, &|_, _| {}), Err(Error::IllegalPath { .. })), "{output}");
    }
    std::fs::write(&path, record("x").replace("convert/1", "convert/9")).unwrap();
    assert!(matches!(Record::find(place.path()), Err(Error::Malformed(_))));
    std::fs::write(&path, b"{").unwrap();
    assert!(matches!(Record::find(place.path()), Err(Error::Malformed(_))));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(Record::find(place.path()), Err(Error::NotFound { .. })));
}

#[test]
fn packed_weights_of_mlx_are_computed_while_they_are_written() {
    // 4 rows of 64 numbers in 4 bits, one group a row: number `at` of a row is `at % 16`.
    let mut data = Vec::new();
    for _ in 0..4 {
        data.extend((0..32u8).map(|pair| (2 * pair % 16) | ((2 * pair + 1) % 16) << 4));
    }
    let words = data.len();
    for scale in [0.5f32, 1.0, 2.0, 0.25] {
        data.extend(scale.to_le_bytes());
    }
    for bias in [-1.0f32, 0.0, 3.0, 0.5] {
        data.extend(bias.to_le_bytes());
    }
    let header = serde_json::json!({
        "__metadata__": { "format": "mlx" },
        "l.weight": { "dtype": "U32", "shape": [4, 8], "data_offsets": [0, words] },
        "l.scales": { "dtype": "F32", "shape": [4, 1], "data_offsets": [words, words + 16] },
        "l.biases": { "dtype": "F32", "shape": [4, 1], "data_offsets": [words + 16, words + 32] },
    });
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(&header);
    file.extend_from_slice(&data);
    let config = br#"{"model_type": "llama", "quantization": {"group_size": 64, "bits": 4}}"#.to_vec();
    let folder = memory(&[("config.json", config), ("model.safetensors", file)]);
    let source = Source { folder: &folder, file: None, facts: &Still };
    let place = tempfile::tempdir().unwrap();
    let destination = place.path().join("hf.npz");
    run(&source, &options(&destination, |options| options.naming = Some("hf".to_owned())), &destination).unwrap();
    let (written, name) = LocalFolder::of_file(&destination).unwrap();
    let limits = weighthouse_format::Limits::default();
    let found = weighthouse_format::checkpoint::read_file(&written, &name, &limits).unwrap();
    let [tensor] = found.contents.tensors.as_slice() else { panic!("{:?}", found.contents.tensors) };
    assert_eq!((tensor.name.as_str(), tensor.shape.as_slice()), ("l.weight", [4, 64].as_slice()));
    let bytes = weighthouse_format::data::Elements::new(&written, tensor, &limits).unwrap().read_all().unwrap();
    let numbers: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|&number| f32::from_le_bytes(number)).collect();
    for (at, number) in numbers.into_iter().enumerate() {
        let (scale, bias) = [(0.5, -1.0), (1.0, 0.0), (2.0, 3.0), (0.25, 0.5)][at / 64];
        assert_eq!(number, scale * (at % 64 % 16) as f32 + bias, "number {at}");
    }
}

/// An archive of `torch.save` with one tensor, and a call beside it.
fn poisoned_torch() -> Vec<u8> {
    let mut pickle =
        b"\x80\x02}(X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n".to_vec();
    pickle.extend(b"X\x01\0\0\x000X\x03\0\0\0cpuK\x04tQK\0K\x04\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtR");
    pickle.extend(b"X\x04\0\0\0evilcos\nsystem\nX\x0b\0\0\0mkdir pwned\x85Ru.");
    let values: Vec<u8> = [1f32, 2.0, 3.0, 4.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    let members: [(&str, &[u8]); 3] = [("m/data.pkl", &pickle), ("m/data/0", &values), ("m/version", b"3\n")];
    for (name, data) in members {
        let mut head = b"\x14\0\0\0\0\0\0\0\0\0".to_vec();
        head.extend(weighthouse_format::zip::crc(data).to_le_bytes());
        head.extend((data.len() as u32).to_le_bytes());
        head.extend((data.len() as u32).to_le_bytes());
        head.extend((name.len() as u16).to_le_bytes());
        head.extend([0; 2]);
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(&head);
        directory.extend([0; 10]);
        directory.extend((out.len() as u32).to_le_bytes());
        directory.extend(name.as_bytes());
        out.extend(b"PK\x03\x04");
        out.extend(head);
        out.extend(name.as_bytes());
        out.extend(data);
    }
    let at = out.len() as u32;
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0\x03\0\x03\0");
    out.extend((directory.len() as u32).to_le_bytes());
    out.extend(at.to_le_bytes());
    out.extend([0; 2]);
    out
}

#[test]
fn a_refused_checkpoint_becomes_one_that_cannot_act_and_says_what_was_dropped() {
    use crate::scan::{Verdict, Wishes, scan};

    let evil = "{{ m.__class__ }}";
    let files = [
        ("pytorch_model.bin", poisoned_torch()),
        (
            "config.json",
            br#"{"model_type": "bert", "sub": {"_attn_implementation": "a/b", "n": 1}, "trust_remote_code": true}"#.to_vec(),
        ),
        ("chat_template.jinja", evil.as_bytes().to_vec()),
        (
            "tokenizer_config.json",
            serde_json::json!({"chat_template": [{"name": "a", "template": evil}, {"name": "b", "template": "{{ x }}"}], "k": 1})
                .to_string()
                .into_bytes(),
        ),
        ("params.yaml", b"a: !!python/object/apply:os.system [x]\n".to_vec()),
        ("README.md", b"# A model\n".to_vec()),
    ];
    let folder = memory(&files);
    let dirty = scan(&folder, None, ".", Wishes::default(), &|_, _| {}).unwrap();
    assert_eq!(dirty.verdict, Verdict::Unsafe);
    let source = Source { folder: &folder, file: None, facts: &Still };
    let place = tempfile::tempdir().unwrap();
    let destination = place.path().join("out");
    let record = run(&source, &options(&destination, |_| {}), &destination).unwrap();
    let written = LocalFolder::open(&destination).unwrap();
    let clean = scan(&written, None, ".", Wishes::default(), &|_, _| {}).unwrap();
    assert!(clean.verdict <= Verdict::Caution, "{:#?}", clean.findings);
    let notes = record.notes.join("\n");
    for said in [
        "os.system",
        "sub._attn_implementation",
        "trust_remote_code",
        "`chat_template.jinja`",
        "`params.yaml`",
        "chat_template[0]",
    ] {
        assert!(notes.contains(said), "{said}: {notes}");
    }
    let kept = names(&destination);
    let kept: Vec<&str> = kept.iter().map(String::as_str).collect();
    assert_eq!(
        kept,
        ["README.md", "config.json", "model.safetensors", "tokenizer_config.json", "weighthouse.convert.json"]
    );
    let text = |name: &str| std::fs::read_to_string(destination.join(name)).unwrap();
    let config: serde_json::Value = serde_json::from_str(&text("config.json")).unwrap();
    assert_eq!(config, serde_json::json!({"model_type": "bert", "sub": {"n": 1}}));
    let tokenizer: serde_json::Value = serde_json::from_str(&text("tokenizer_config.json")).unwrap();
    assert_eq!(tokenizer["chat_template"], serde_json::json!([{"name": "b", "template": "{{ x }}"}]));
    let bytes = std::fs::read(destination.join("model.safetensors")).unwrap();
    let values: Vec<u8> = [1f32, 2.0, 3.0, 4.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    assert!(bytes.ends_with(&values));
    // One file alone: its tensors, and nothing else.
    let file = Source { folder: &folder, file: Some("pytorch_model.bin"), facts: &Still };
    let alone = place.path().join("alone.safetensors");
    let record = run(&file, &options(&alone, |_| {}), &alone).unwrap();
    assert!(record.notes.iter().any(|note| note.contains("os.system")), "{:?}", record.notes);
    assert_eq!(record.tensors, 1);
}
