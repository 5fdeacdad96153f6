use serde_json::{Map, Value as Json, json};

use super::*;
use crate::gguf::metadata::find;

/// A tokenizer's files, with the model that they are asked for.
struct Case {
    files: Files,
    config: Map<String, Json>,
    rows: u64,
    pre: Option<&'static str>,
}

impl Case {
    fn new(rows: u64) -> Self {
        Self { files: Files::default(), config: Map::new(), rows, pre: None }
    }

    fn of(tokenizer: Json, rows: u64) -> Self {
        Self::new(rows).file("tokenizer.json", tokenizer.to_string())
    }

    fn file(mut self, name: &str, text: impl Into<Vec<u8>>) -> Self {
        self.files.insert(name, text);
        self
    }

    fn entries(&self) -> Result<(Entries, Vec<String>), FormatError> {
        let mut notes = Vec::new();
        let ask = Ask { files: &self.files, config: &self.config, rows: self.rows, bert: false, pre: self.pre };
        Ok((entries(&ask, &mut notes)?, notes))
    }

    fn error(&self) -> String {
        self.entries().unwrap_err().to_string()
    }
}

fn list(entries: &Entries, key: &str) -> Vec<String> {
    find(entries, &format!("tokenizer.ggml.{key}"))
        .and_then(Value::as_texts)
        .map(<[String]>::to_vec)
        .unwrap_or_default()
}

fn kinds(entries: &Entries) -> Vec<i32> {
    match find(entries, "tokenizer.ggml.token_type") {
        Some(Value::Array(Array::I32(kinds))) => kinds.clone(),
        other => panic!("{other:?}"),
    }
}

fn scores(entries: &Entries) -> Vec<f32> {
    match find(entries, "tokenizer.ggml.scores") {
        Some(Value::Array(Array::F32(scores))) => scores.clone(),
        other => panic!("{other:?}"),
    }
}

fn text<'a>(entries: &'a Entries, key: &str) -> Option<&'a str> {
    find(entries, key).and_then(Value::as_text)
}

fn number(entries: &Entries, key: &str) -> Option<u64> {
    find(entries, &format!("tokenizer.ggml.{key}")).and_then(Value::as_u64)
}

fn byte_level() -> Json {
    json!({
        "added_tokens": [{"id": 4, "content": "<s>", "special": true}, {"id": 5, "content": "▁tool", "special": false}],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
        "post_processor": {"type": "TemplateProcessing", "single": [
            {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
        ]},
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "Ġ": 3}, "merges": [["a", "b"], "Ġ ab", [" ", "a"]]},
    })
}

#[test]
fn byte_level_bpe_keeps_its_alphabet_and_fills_its_rows() {
    let case = Case::of(byte_level(), 8).file("tokenizer_config.json", r#"{"bos_token": {"content": "<s>"}}"#);
    let (entries, notes) = case.entries().unwrap();
    assert_eq!(text(&entries, "tokenizer.ggml.model"), Some("gpt2"));
    assert_eq!(text(&entries, "tokenizer.ggml.pre"), Some("gpt-2"));
    assert_eq!(list(&entries, "tokens"), ["a", "b", "ab", "Ġ", "<s>", "▁tool", "[PAD6]", "[PAD7]"]);
    assert_eq!(kinds(&entries), [1, 1, 1, 1, 3, 4, 5, 5]);
    assert_eq!(list(&entries, "merges"), ["a b", "Ġ ab", "Ġ a"]);
    assert_eq!(number(&entries, "bos_token_id"), Some(4));
    assert_eq!(find(&entries, "tokenizer.ggml.add_bos_token"), Some(&Value::Bool(true)));
    assert_eq!(notes, [""; 0]);
}

#[test]
fn sentencepiece_bpe_is_scored_by_the_order_of_its_merges() {
    let tokenizer = json!({
        "added_tokens": [{"id": 0, "content": "<unk>", "special": true}, {"id": 6, "content": "▁x y", "special": false}],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}]},
        "model": {
            "type": "BPE", "byte_fallback": true, "unk_token": "<unk>",
            "vocab": {"<unk>": 0, "<0x0A>": 1, "a": 2, "b": 3, "ab": 4, "▁ab": 5, "▁": 7},
            "merges": [["▁", "ab"], ["a", "b"], ["▁a", "b"]],
        },
    });
    let (entries, _) = Case::of(tokenizer, 9).entries().unwrap();
    assert_eq!(text(&entries, "tokenizer.ggml.model"), Some("llama"));
    assert_eq!(list(&entries, "tokens")[6], " x y");
    assert_eq!(kinds(&entries), [2, 6, 1, 1, 1, 1, 4, 1, 5]);
    assert_eq!(scores(&entries), [0.0, 0.0, -2.0, -3.0, -1.0, 0.0, -1000.0, -4.0, -10000.0]);
    assert_eq!(find(&entries, "tokenizer.ggml.add_space_prefix"), Some(&Value::Bool(true)));
}

#[test]
fn word_piece_marks_beginnings_instead_of_middles() {
    let case = Case::new(7).file("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\nhello\n##lo\n");
    let (entries, _) = case.entries().unwrap();
    assert_eq!(list(&entries, "tokens"), ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁hello", "lo", "▁[PAD6]"]);
    assert_eq!(kinds(&entries), [3, 3, 3, 3, 1, 1, 5]);
}

#[test]
fn unigram_keeps_its_scores_and_its_table() {
    let tokenizer = json!({
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Precompiled", "precompiled_charsmap": "AQID"},
            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
        ]},
        "pre_tokenizer": {"type": "Metaspace", "prepend_scheme": "always"},
        "model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["▁a", -1.5], ["<0x41>", -2]]},
    });
    let (entries, _) = Case::of(tokenizer, 3).entries().unwrap();
    assert_eq!(text(&entries, "tokenizer.ggml.model"), Some("t5"));
    assert_eq!((kinds(&entries), scores(&entries)), (vec![2, 1, 1], vec![0.0, -1.5, -2.0]));
    let table = Value::Array(Array::U8(vec![1, 2, 3]));
    assert_eq!(find(&entries, "tokenizer.ggml.precompiled_charsmap"), Some(&table));
    assert_eq!(find(&entries, "tokenizer.ggml.remove_extra_whitespaces"), Some(&Value::Bool(true)));
}

/// A protocol buffer's field of bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    assert!(bytes.len() < 128);
    [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
}

fn piece(text: &str, score: f32, kind: u8) -> Vec<u8> {
    let inner = [field(1, text.as_bytes()), [&[0x15][..], &score.to_le_bytes()].concat(), vec![0x18, kind]].concat();
    field(1, &inner)
}

#[test]
fn a_binary_model_is_read_where_there_is_no_other() {
    let pieces = [piece("<unk>", 0.0, 2), piece("<s>", 0.0, 3), piece("<0x41>", 0.0, 6), piece("▁a", -7.0, 1)].concat();
    let model = [pieces, field(2, &[0x18, 2]), field(3, &[0x18, 0])].concat();
    let case = Case::new(6).file("tokenizer.model", model).file("added_tokens.json", r#"{"<|end|>": 4}"#);
    let (entries, _) = case.entries().unwrap();
    assert_eq!(text(&entries, "tokenizer.ggml.model"), Some("llama"));
    assert_eq!(list(&entries, "tokens"), ["<unk>", "<s>", "<0x41>", "▁a", "<|end|>", "[PAD5]"]);
    assert_eq!(kinds(&entries), [2, 3, 6, 1, 3, 5]);
    assert_eq!(scores(&entries), [0.0, 0.0, 0.0, -7.0, -1000.0, -10000.0]);
    assert_eq!(find(&entries, "tokenizer.ggml.add_space_prefix"), Some(&Value::Bool(false)));
    let broken = Case::new(6).file("tokenizer.model", piece("x", f32::NAN, 1)).error();
    assert!(broken.contains("tokenizer.model"), "{broken}");
    assert!(Case::new(6).file("tokenizer.model", piece("x", 0.0, 9)).entries().is_err());
    assert!(Case::new(6).file("tokenizer.model", [0xff; 40]).entries().is_err());
}

#[test]
fn numbers_outside_of_the_embedding_allocate_nothing() {
    let mut huge = byte_level();
    huge["model"]["vocab"]["z"] = json!(u64::MAX);
    assert!(Case::of(huge, 8).error().contains("`z` has the number 18446744073709551615; the embedding has 8 rows"));
    let mut added = byte_level();
    added["added_tokens"][1]["id"] = json!(1u64 << 60);
    let (entries, notes) = Case::of(added, 8).entries().unwrap();
    assert_eq!(list(&entries, "tokens").len(), 8);
    assert!(notes[0].contains("1 added tokens, `▁tool` first"), "{notes:?}");
    let ids = json!({"eos_token_id": 99, "bos_token_id": -1, "pad_token_id": [2]});
    let mut case = Case::of(byte_level(), 8);
    case.config = ids.as_object().cloned().unwrap();
    let (entries, notes) = case.entries().unwrap();
    assert_eq!((number(&entries, "eos_token_id"), number(&entries, "bos_token_id")), (None, None));
    assert_eq!(number(&entries, "padding_token_id"), Some(2));
    assert!(notes[0].contains("`eos_token_id` 99 is no token"), "{notes:?}");
}

#[test]
fn contradictions_are_refused() {
    let with = |change: &dyn Fn(&mut Json)| {
        let mut tokenizer = byte_level();
        change(&mut tokenizer);
        Case::of(tokenizer, 8).error()
    };
    assert!(with(&|json| json["model"]["vocab"]["z"] = json!(1)).contains("both have the number 1"));
    assert!(with(&|json| json["model"]["vocab"]["z"] = json!(-1)).contains("tokenizer.json"));
    assert!(with(&|json| json["model"]["vocab"] = json!([["a", 1.0]])).contains("have scores, not numbers"));
    assert!(with(&|json| json["model"]["merges"] = json!(["a b c"])).contains("tokenizer.json"));
    assert!(with(&|json| json["model"]["merges"] = json!([["a"]])).contains("tokenizer.json"));
    assert!(with(&|json| json["model"]["type"] = json!("WordLevel")).contains("`WordLevel`"));
    assert!(with(&|json| json["model"]["end_of_word_suffix"] = json!("</w>")).contains("ends of words"));
    assert!(with(&|json| json["pre_tokenizer"] = json!({"type": "Whitespace"})).contains("neither is byte-level"));
    let twice = r#"{"model": {"type": "BPE", "byte_fallback": true, "vocab": {"a": 0, "a": 1}}}"#;
    assert!(Case::new(4).file("tokenizer.json", twice).error().contains("`a` appears twice"));
    let deep = "[".repeat(100_000);
    assert!(Case::new(4).file("tokenizer.json", deep).error().contains("tokenizer.json"));
    let merge = r#"{"model": {"type": "BPE", "byte_fallback": true, "vocab": {"a": 0}, "merges": ["a a"]}}"#;
    assert!(Case::new(4).file("tokenizer.json", merge).error().contains("`aa`, which is no token"));
}

#[test]
fn a_person_may_say_how_text_is_split() {
    let mut tokenizer = byte_level();
    let split = json!({"type": "Split", "pattern": {"Regex": "x"}, "invert": false});
    let bytes = json!({"type": "ByteLevel", "use_regex": false});
    tokenizer["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [split, bytes]});
    let mut case = Case::of(tokenizer, 8);
    assert!(case.error().contains("splitting by `x`, `ByteLevel`"), "{}", case.error());
    case.pre = Some("qwen2");
    assert_eq!(text(&case.entries().unwrap().0, "tokenizer.ggml.pre"), Some("qwen2"));
}

#[test]
fn the_end_of_a_turn_is_told_from_the_end_of_a_text() {
    let mut case = Case::of(byte_level(), 8).file("tokenizer_config.json", r#"{"eos_token": "<s>"}"#);
    case.config.insert("eos_token_id".to_owned(), json!([4, 2]));
    let (entries, _) = case.entries().unwrap();
    assert_eq!((number(&entries, "eos_token_id"), number(&entries, "eot_token_id")), (Some(4), Some(2)));
}

#[test]
fn templates_keep_their_names() {
    let config = json!({"chat_template": [
        {"name": "default", "template": "D"}, {"name": "tool_use", "template": "T"}, {"name": "../x", "template": "X"},
    ]});
    let case = Case::of(byte_level(), 8).file("tokenizer_config.json", config.to_string());
    let (entries, notes) = case.entries().unwrap();
    assert_eq!(text(&entries, "tokenizer.chat_template"), Some("D"));
    assert_eq!(text(&entries, "tokenizer.chat_template.tool_use"), Some("T"));
    assert!(!entries.iter().any(|(key, _)| key.contains("..")) && notes.len() == 1);
    let jinja = Case::of(byte_level(), 8).file("chat_template.jinja", "J").entries().unwrap().0;
    assert_eq!(text(&jinja, "tokenizer.chat_template"), Some("J"));
}

#[test]
fn a_tokenizer_comes_back_with_the_same_words() {
    let tokenizer = json!({
        "added_tokens": [{"id": 0, "content": "<unk>", "special": true}],
        "model": {
            "type": "BPE", "byte_fallback": true, "unk_token": "<unk>",
            "vocab": {"<unk>": 0, "<0x0A>": 1, "a": 2, "b": 3, "ab": 4, "▁ab": 5, "▁": 6, "▁a": 7},
            "merges": [["▁", "a"], ["a", "b"], ["▁", "ab"], ["▁a", "b"]],
        },
    });
    for (tokenizer, rows) in [(tokenizer, 9), (byte_level(), 8)] {
        let (entries, _) = Case::of(tokenizer.clone(), rows).entries().unwrap();
        let mut notes = Vec::new();
        let files = restore(&entries, &mut notes).unwrap();
        assert_eq!(notes, [""; 0]);
        assert_eq!(files[0].0, "tokenizer.json");
        let back: Json = serde_json::from_slice(&files[0].1).unwrap();
        for (word, id) in tokenizer["model"]["vocab"].as_object().unwrap() {
            assert_eq!(&back["model"]["vocab"][word], id, "{word}");
        }
        let merges = |json: &Json| json["model"]["merges"].as_array().unwrap().len();
        assert_eq!(merges(&back), merges(&tokenizer));
        assert_eq!(back["model"]["merges"][0], json!(tokenizer["model"]["merges"][0]));
        // What comes back says the same once more.
        let again = Case { files: Files::default(), ..Case::new(rows) };
        let again = again.file("tokenizer.json", files[0].1.clone()).entries().unwrap().0;
        for key in ["tokens", "scores", "token_type"] {
            let key = format!("tokenizer.ggml.{key}");
            assert_eq!(find(&again, &key), find(&entries, &key), "{key}");
        }
    }
}

#[test]
fn hostile_vocabularies_are_not_restored() {
    let entry = |key: &str, value: Value| (format!("tokenizer.ggml.{key}"), value);
    let words = |words: &[&str]| texts(words.iter().map(|word| (*word).to_owned()).collect());
    let error = |entries: &[(String, Value)]| restore(entries, &mut Vec::new()).unwrap_err().to_string();
    let model = entry("model", Value::text("llama"));
    let tokens = entry("tokens", words(&["a", "b"]));
    assert!(error(&[model.clone(), tokens.clone()]).contains("no scores"));
    let kinds = entry("token_type", Value::Array(Array::I32(vec![1])));
    assert!(error(&[model.clone(), tokens.clone(), kinds]).contains("2 tokens have 1 kinds"));
    let merges = entry("merges", words(&["ab"]));
    let gpt2 = [entry("model", Value::text("gpt2")), tokens.clone(), merges];
    assert!(error(&gpt2).contains("not two tokens"));
    let mut notes = Vec::new();
    let unknown = [entry("model", Value::text("gpt2")), entry("pre", Value::text("new")), tokens];
    assert!(restore(&unknown, &mut notes).unwrap().is_empty() && notes[0].contains("`new`"));
    // The splits of one long piece would be many; it is left whole.
    let long = "a".repeat(1 << 20);
    let many = entry("tokens", words(&["a", &long]));
    let scored = entry("scores", Value::Array(Array::F32(vec![0.0, f32::NAN])));
    assert_eq!(restore(&[model, many, scored], &mut Vec::new()).unwrap().len(), 2);
}
