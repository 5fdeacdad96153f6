use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{read, read_split};
use crate::contents::{Contents, WarningKind};
use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::limits::Limits;
use crate::source::{MemoryFolder, ReadAt, Section};
use crate::tensor::{Filter, Stored};

/// Builds files, good and bad.
#[derive(Clone)]
struct File {
    version: u32,
    big: bool,
    entries: Vec<Vec<u8>>,
    tensors: Vec<Vec<u8>>,
    alignment: usize,
    data: Vec<u8>,
}

impl File {
    fn new(version: u32) -> Self {
        Self { version, big: false, entries: Vec::new(), tensors: Vec::new(), alignment: 32, data: Vec::new() }
    }

    fn number<const N: usize>(&self, little: [u8; N]) -> Vec<u8> {
        let mut bytes = little.to_vec();
        if self.big {
            bytes.reverse();
        }
        bytes
    }

    fn u32(&self, number: u32) -> Vec<u8> {
        self.number(number.to_le_bytes())
    }

    fn length(&self, number: u64) -> Vec<u8> {
        if self.version == 1 { self.u32(number as u32) } else { self.number(number.to_le_bytes()) }
    }

    fn string(&self, text: impl AsRef<[u8]>) -> Vec<u8> {
        [self.length(text.as_ref().len() as u64), text.as_ref().to_vec()].concat()
    }

    /// A metadata entry of a type, with the bytes of its value.
    fn entry(mut self, key: impl AsRef<[u8]>, kind: u32, value: &[u8]) -> Self {
        self.entries.push([self.string(key), self.u32(kind), value.to_vec()].concat());
        self
    }

    fn text(self, key: &str, value: &str) -> Self {
        let value = self.string(value);
        self.entry(key, 8, &value)
    }

    fn count(self, key: &str, value: u32) -> Self {
        let value = self.u32(value);
        self.entry(key, 4, &value)
    }

    fn info(mut self, name: impl AsRef<[u8]>, dims: &[u64], kind: u32, offset: u64) -> Self {
        let dims = [self.u32(dims.len() as u32), dims.iter().flat_map(|&dim| self.length(dim)).collect()].concat();
        self.tensors.push([self.string(name), dims, self.u32(kind), self.number(offset.to_le_bytes())].concat());
        self
    }

    fn with_data(mut self, len: usize) -> Self {
        self.data = (0..len).map(|at| at as u8).collect();
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(self.u32(self.version));
        bytes.extend(self.length(self.tensors.len() as u64));
        bytes.extend(self.length(self.entries.len() as u64));
        bytes.extend(self.entries.concat());
        bytes.extend(self.tensors.concat());
        if !self.data.is_empty() {
            bytes.resize(bytes.len().next_multiple_of(self.alignment), 0);
            bytes.extend(&self.data);
        }
        bytes
    }

    fn read(&self) -> Result<Contents, FormatError> {
        read(&Section::of_bytes("model.gguf", self.bytes()), &Limits::default())
    }

    fn error(&self) -> String {
        self.read().unwrap_err().to_string()
    }
}

/// A small model: two tensors, one of them quantised.
fn llama(version: u32, big: bool) -> File {
    let mut file = File::new(version);
    file.big = big;
    let (one, two) = (file.u32(1), file.u32(2));
    let nested = [file.u32(9), file.length(2), file.u32(4), file.length(2), one, two, file.u32(4), file.length(0)];
    let tokens = (0..100).flat_map(|at| file.string(format!("t{at}"))).collect::<Vec<u8>>();
    let tokens = [file.u32(8), file.length(100), tokens].concat();
    let float = file.number(1e-5f32.to_le_bytes());
    file.text("general.architecture", "llama")
        .text("general.license", "apache-2.0")
        .text("tokenizer.chat_template", "{{ messages }}")
        .count("general.file_type", 15)
        .count("llama.embedding_length", 64)
        .count("llama.block_count", 2)
        .count("llama.attention.head_count", 4)
        .count("llama.attention.head_count_kv", 2)
        .count("llama.feed_forward_length", 128)
        .count("llama.context_length", 2048)
        .entry("llama.attention.layer_norm_rms_epsilon", 6, &float)
        .entry("tokenizer.ggml.tokens", 9, &tokens)
        .entry("test.nested", 9, &nested.concat())
        .info("a.weight", &[3, 2], 0, 0)
        .info("b.weight", &[64, 1], 8, 32)
        .with_data(32 + 68)
}

#[test]
fn all_versions_and_byte_orders_say_the_same() {
    for (version, big) in [(1, false), (2, false), (3, false), (3, true)] {
        let contents = llama(version, big).read().unwrap();
        let architecture = &contents.architecture;
        assert_eq!(architecture.family.as_deref(), Some("llama"));
        let sizes: Vec<_> = architecture.sizes.iter().map(|(name, size)| (name.as_str(), *size)).collect();
        assert_eq!(
            sizes,
            [
                ("hidden_size", 64),
                ("intermediate_size", 128),
                ("max_position_embeddings", 2048),
                ("num_attention_heads", 4),
                ("num_hidden_layers", 2),
                ("num_key_value_heads", 2),
                ("vocab_size", 100),
            ]
        );
        assert_eq!(architecture.config["llama.attention.layer_norm_rms_epsilon"], json!(1e-5));
        let metadata = &contents.metadata;
        assert_eq!(metadata["general.license"], "apache-2.0");
        assert_eq!(metadata["tokenizer.chat_template"], "{{ messages }}");
        assert_eq!(metadata["general.file_type_name"], "Q4_K_M");
        assert_eq!(metadata["test.nested"], json!([[1, 2], []]));
        assert_eq!(metadata["tokenizer.ggml.tokens"]["count"], 100);
        assert_eq!(metadata["tokenizer.ggml.tokens"]["first"][1], "t1");
        assert_eq!(metadata["GGUF.version"], version);
        let [a, b] = &contents.tensors[..] else { panic!("{:?}", contents.tensors) };
        assert_eq!((a.name.as_str(), a.dtype, &a.shape[..]), ("a.weight", Dtype::F32, &[2, 3][..]));
        assert_eq!((b.name.as_str(), b.dtype, &b.shape[..]), ("b.weight", Dtype::Q80, &[1, 64][..]));
        let Stored::File { begin, end, .. } = b.pieces[0].stored else { panic!("{b:?}") };
        assert_eq!((begin % 32, end - begin, end), (0, 68, llama(version, big).bytes().len() as u64));
        let swap = if big { vec![Filter::SwapBytes { width: 4 }] } else { vec![] };
        assert_eq!(a.pieces[0].filters, swap);
        assert_eq!(contents.warnings.len(), usize::from(big), "{:?}", contents.warnings);
    }
}

#[test]
fn other_files_are_refused() {
    let read = |bytes: &[u8]| read(&Section::of_bytes("file", bytes), &Limits::default());
    assert!(matches!(read(b"GGML\x03\0\0\0"), Err(FormatError::BadMagic { .. })));
    assert!(matches!(read(b"GGUF"), Err(FormatError::Truncated { .. })));
    for version in [4u32, 0, 0x0004_0000, 0xFFFF_0000] {
        let bytes = [b"GGUF", &version.to_le_bytes()[..]].concat();
        assert!(matches!(read(&bytes), Err(FormatError::UnknownVersion { .. })), "{version}");
    }
    let bytes = llama(3, false).bytes();
    for len in 0..bytes.len() {
        assert!(read(&bytes[..len]).is_err(), "{len}");
    }
}

#[test]
fn counts_that_no_file_can_hold_are_refused_before_anything_is_kept() {
    let header = |tensors: u64, entries: u64| {
        let bytes = [&b"GGUF\x03\0\0\0"[..], &tensors.to_le_bytes(), &entries.to_le_bytes(), &[0; 64]].concat();
        read(&Section::of_bytes("file", bytes), &Limits::default()).unwrap_err()
    };
    for count in [4, 1 << 32, 1 << 63, u64::MAX] {
        assert!(matches!(header(count, 0), FormatError::Truncated { .. }), "{count}");
        assert!(matches!(header(0, count.saturating_add(2)), FormatError::Truncated { .. }), "{count}");
    }
    for count in [9, 1 << 61, 1 << 63, u64::MAX] {
        for kind in [0u32, 8, 9, 12] {
            let value = [&kind.to_le_bytes()[..], &u64::to_le_bytes(count), &[0; 8]].concat();
            let error = File::new(3).entry("key", 9, &value).read().unwrap_err();
            assert!(matches!(error, FormatError::Truncated { .. }), "{count} of {kind}: {error}");
        }
        let error = File::new(3).entry("key", 8, &count.to_le_bytes()).read().unwrap_err();
        assert!(matches!(error, FormatError::Truncated { .. }), "{error}");
    }
}

#[test]
fn arrays_in_arrays_end_at_the_limit() {
    let nested = |depth: usize| {
        let level = [9u32.to_le_bytes().as_slice(), &1u64.to_le_bytes()].concat();
        File::new(3).entry("key", 9, &[level.repeat(depth), vec![0; 12]].concat())
    };
    assert!(nested(100).read().is_ok());
    assert_eq!(nested(128).error(), "nesting of gguf arrays is 129; the limit is 128");
    assert_eq!(nested(100_000).error(), "nesting of gguf arrays is 129; the limit is 128");
}

#[test]
fn what_is_kept_of_arrays_is_bounded() {
    // 2,000 arrays of 60 numbers each, all short enough to be kept alone.
    let inner = [0u32.to_le_bytes().as_slice(), &60u64.to_le_bytes(), &[7; 60]].concat();
    let array = [9u32.to_le_bytes().as_slice(), &60u64.to_le_bytes(), &inner.repeat(60)].concat();
    let mut file = File::new(3);
    for at in 0..60 {
        file = file.entry(format!("key{at}"), 9, &array);
    }
    let contents = file.read().unwrap();
    let mut kept = 0;
    let mut open: Vec<&Value> = contents.metadata.values().collect();
    while let Some(value) = open.pop() {
        kept += 1;
        match value {
            Value::Array(values) => open.extend(values),
            Value::Object(map) => open.extend(map.values()),
            _ => {}
        }
    }
    assert!(kept < 80_000, "{kept}");
}

#[test]
fn hostile_tensors_give_their_own_error() {
    let one = |dims: &[u64], kind: u32, offset: u64| File::new(3).info("w", dims, kind, offset).with_data(64).error();
    assert_eq!(one(&[1 << 32, 1 << 32], 24, 0), "the size of tensor `w` overflows");
    assert_eq!(one(&[1 << 62], 0, 0), "the size of tensor `w` overflows");
    assert_eq!(one(&[1, 1, 1, 1, 1], 0, 0), "rank of a tensor is 5; the limit is 4");
    assert_eq!(one(&[17], 0, 0), "tensor `w`: bytes 0..68 leave the data section of 64 bytes");
    assert_eq!(
        one(&[1], 0, u64::MAX - 31),
        "tensor `w`: bytes 18446744073709551584..18446744073709551588 leave the data section of 64 bytes"
    );
    assert_eq!(one(&[1], 0, 4), "gguf header at byte 24: offset `4` of tensor `w` is no multiple of the alignment 32");
    assert_eq!(
        one(&[16, 2], 8, 0),
        "gguf header at byte 24: rows of `16` elements of tensor `w` are not whole blocks of `Q8_0`"
    );
    assert_eq!(one(&[32], 99, 0), "tensor `w` has the unknown dtype `99`");
    assert_eq!(
        one(&[32], 31, 0),
        "element type that ggml has removed is not supported: `Q4_0_4_4` of tensor `w`; convert the model again from its source"
    );
    let overlap = File::new(3).info("a", &[9], 0, 0).info("b", &[1], 0, 32).with_data(64).error();
    assert_eq!(overlap, "gguf header at byte 128: tensor `b` begins at byte 32 of the data, inside another");
    let twice = File::new(3).info("a", &[1], 0, 0).info("a", &[1], 0, 32).with_data(64).error();
    assert_eq!(twice, "key `a` appears twice");
    assert_eq!(File::new(3).info(b"\xFF", &[1], 0, 0).error(), "gguf header at byte 24: `\u{FFFD}` is not UTF-8");
    let long = "n".repeat(5000);
    assert_eq!(File::new(3).info(&long, &[1], 0, 0).error(), "tensor name length in bytes is 5000; the limit is 4096");
}

#[test]
fn hostile_metadata_gives_its_own_error() {
    assert_eq!(File::new(3).count("k", 1).count("k", 1).error(), "key `k` appears twice");
    assert_eq!(File::new(3).entry(b"\xC3", 4, &[0; 4]).error(), "gguf header at byte 24: `\u{FFFD}` is not UTF-8");
    assert_eq!(File::new(3).entry("k", 13, &[0; 4]).error(), "gguf header at byte 37: unknown value type `13`");
    assert_eq!(File::new(3).entry("k", 7, &[2]).error(), "gguf header at byte 37: `2` is no boolean");
    let array = [14u32.to_le_bytes().as_slice(), &[0; 8]].concat();
    assert_eq!(File::new(3).entry("k", 9, &array).error(), "gguf header at byte 37: unknown value type `14`");
    for alignment in [0, 3, 24, u32::MAX] {
        let error = File::new(3).count("general.alignment", alignment).error();
        assert_eq!(error, format!("gguf header at byte 57: alignment `{alignment}` is no power of two"));
    }
    let text = File::new(3).text("general.alignment", "32").error();
    assert!(text.contains("is no power of two"), "{text}");
    let value = File::new(3).entry("k", 8, &File::new(3).string(b"\xFF")).read().unwrap();
    assert_eq!(value.warnings[0].kind, WarningKind::Unreadable);
}

#[test]
fn the_alignment_moves_the_data() {
    let mut file = File::new(3).count("general.alignment", 256).info("w", &[4], 0, 0).with_data(16);
    file.alignment = 256;
    let contents = file.read().unwrap();
    assert_eq!(contents.tensors[0].place().unwrap().1, 256);
    assert_eq!(contents.warnings, []);
    file.data.resize(1024, 0);
    assert_eq!(file.read().unwrap().warnings[0].message, "768 bytes of the data belong to no tensor");
}

fn part(number: u16, count: u16, tensors: i32, name: &str) -> Vec<u8> {
    let file = File::new(3)
        .entry("split.no", 2, &number.to_le_bytes())
        .entry("split.count", 2, &count.to_le_bytes())
        .entry("split.tensors.count", 5, &tensors.to_le_bytes());
    let file = if number == 0 { file.text("general.architecture", "bert") } else { file };
    file.info(name, &[8], 0, 0).with_data(32).bytes()
}

#[test]
fn the_parts_of_a_split_model_become_one() {
    let names = ["x/m-00001-of-00003.gguf", "x/m-00002-of-00003.gguf", "x/m-00003-of-00003.gguf"];
    let section = |at: usize, name: &str| Section::of_bytes(names[at], part(at as u16, 3, 3, name));
    let whole = MemoryFolder::new(vec![section(0, "a"), section(1, "b"), section(2, "c")]);
    for path in names {
        let contents = read_split(&whole, path, &Limits::default()).unwrap();
        let found: String = contents.tensors.iter().fold(String::new(), |mut text, tensor| {
            let _ = write!(text, "{}@{} ", tensor.name, tensor.place().unwrap().0);
            text
        });
        assert_eq!(found, format!("a@{} b@{} c@{} ", names[0], names[1], names[2]));
        assert_eq!(contents.architecture.family.as_deref(), Some("bert"));
        assert_eq!(contents.warnings, []);
    }
    let holed = MemoryFolder::new(vec![section(0, "a"), section(2, "c")]);
    let contents = read_split(&holed, names[2], &Limits::default()).unwrap();
    assert_eq!(contents.tensors.len(), 2);
    assert_eq!(contents.warnings.len(), 1);
    assert_eq!(contents.warnings[0].message, "1 of 3 parts are missing, `x/m-00002-of-00003.gguf` first");
    let twice = MemoryFolder::new(vec![section(0, "a"), section(1, "a"), section(2, "c")]);
    let error = read_split(&twice, names[0], &Limits::default()).unwrap_err();
    assert_eq!(error.to_string(), "`x/m-00002-of-00003.gguf`: key `a` appears twice");
    let swapped = MemoryFolder::new(vec![section(0, "a"), Section::of_bytes(names[1], part(2, 3, 3, "b"))]);
    let contents = read_split(&swapped, names[0], &Limits::default()).unwrap();
    assert!(contents.warnings.iter().any(|warning| warning.kind == WarningKind::Disagreement));

    let alone = read(&section(1, "b"), &Limits::default()).unwrap();
    assert_eq!(alone.warnings[0].message, "this is part 2 of 3; the tensors of the other parts are missing");
    let odd = MemoryFolder::new(vec![Section::of_bytes("odd.gguf", part(0, 3, 3, "a"))]);
    assert_eq!(read_split(&odd, "odd.gguf", &Limits::default()).unwrap().warnings[0].kind, WarningKind::Missing);
    assert!(matches!(read_split(&odd, "no.gguf", &Limits::default()), Err(FormatError::NoFile { .. })));
}

/// A file whose data is not there, that counts what is read of it.
struct Hollow {
    header: Vec<u8>,
    len: u64,
    read: AtomicU64,
}

impl ReadAt for Hollow {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        for (at, byte) in buffer.iter_mut().enumerate() {
            *byte = self.header.get(offset as usize + at).copied().unwrap_or(0);
        }
        Ok(())
    }
}

#[test]
fn inspecting_a_large_model_reads_its_header_only() {
    let file = File::new(3);
    let tokens: Vec<u8> = (0..150_000).flat_map(|at| file.string(format!("token{at}"))).collect();
    let list = |values: &[u8], kind: u32| [&kind.to_le_bytes()[..], &150_000u64.to_le_bytes(), values].concat();
    let mut file = file
        .text("general.architecture", "llama")
        .entry("tokenizer.ggml.tokens", 9, &list(&tokens, 8))
        .entry("tokenizer.ggml.merges", 9, &list(&tokens, 8))
        .entry("tokenizer.ggml.scores", 9, &list(&[0; 600_000], 6));
    for at in 0..300u64 {
        file = file.info(format!("blk.{at}.weight"), &[1 << 10, 1 << 10], 1, at << 21);
    }
    let header = file.bytes();
    let (length, len) = (header.len() as u64, header.len().next_multiple_of(32) as u64 + (300 << 21));
    let hollow = Arc::new(Hollow { header, len, read: AtomicU64::new(0) });
    let source: Arc<dyn ReadAt> = hollow.clone();
    let began = std::time::Instant::now();
    let contents = read(&Section::new("large.gguf", source), &Limits::default()).unwrap();
    println!("{} bytes of header in {:?}", length, began.elapsed());
    assert_eq!((contents.tensors.len(), contents.architecture.sizes["vocab_size"]), (300, 150_000));
    assert!(hollow.read.load(Ordering::Relaxed) < length + (1 << 17));
}

proptest! {
    #[test]
    fn any_bytes_end_in_an_answer(bytes: Vec<u8>, version in 1u32..4) {
        let bytes = [b"GGUF", &version.to_le_bytes()[..], &bytes].concat();
        let _ = read(&Section::of_bytes("file", bytes), &Limits::default());
    }

    #[test]
    fn any_change_to_a_good_file_ends_in_an_answer(
        version in 1u32..4,
        big: bool,
        changes in prop::collection::vec((0usize..1600, any::<u8>()), 1..4),
    ) {
        let mut bytes = llama(version, big).bytes();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        if let Ok(contents) = read(&Section::of_bytes("file", bytes.clone()), &Limits::default()) {
            for tensor in contents.tensors {
                let Stored::File { end, .. } = tensor.pieces[0].stored else { panic!("{tensor:?}") };
                prop_assert!(end <= bytes.len() as u64);
            }
        }
    }
}
