use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn card(yaml: &str) -> String {
    format!("---\n{yaml}\n---\n# Title\n")
}

fn error(text: &str) -> Note {
    let mut found = validate(text).errors;
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn yaml_and_markdown_are_told_apart() {
    let text = "\u{feff}\n  \r\n---\r\nlicense: mit\r\ntags: [a, b]\r\n---\r\n# Hi\r\n---\r\n";
    let card = Card::parse(text);
    assert_eq!(Value::Object(card.data.clone()), json!({"license": "mit", "tags": ["a", "b"]}));
    assert_eq!(card.body, "# Hi\r\n---\r\n");
    assert_eq!(card.validation, Validation::default());
}

#[test]
fn a_card_without_metadata_is_warned_about() {
    for text in [
        "",
        "# Hi",
        "---\n---\n",
        "---\n# only a comment\n---\n",
        "text\n---\na: b\n---\n",
        "---\na: b\n",
        "---\n{}\n---",
    ] {
        let found = validate(text);
        assert_eq!(found.errors, [], "{text:?}");
        assert_eq!(found.warnings[0].message, "empty or missing yaml metadata in repo card", "{text:?}");
    }
    assert_eq!(Card::parse("# Hi").body, "# Hi");
}

#[test]
fn words_stay_what_they_were_written_as() {
    let text = card("language: no\ndate: 2024-01-01\nversion: 1.10\nzip: 007\nbig: 1_000\nyes: on\nnan: .nan\n1: one");
    let found = Card::parse(&text);
    assert_eq!(found.validation.errors, []);
    assert_eq!(found.data["language"], "no");
    assert_eq!(found.data["date"], "2024-01-01");
    assert_eq!(found.data["zip"], "007");
    assert_eq!(found.data["big"], "1_000");
    assert_eq!(found.data["yes"], "on");
    assert_eq!(found.data["nan"], ".nan");
    assert_eq!(found.data["1"], "one");
}

#[test]
fn errors_name_the_line_of_the_readme() {
    assert_eq!(
        error(&card("a: 1\nmodel-index: foo")),
        Note { message: "\"model-index\" must be a list".to_owned(), line: Some(3) }
    );
    assert!(error(&card("a: 1\nb: [1, 2")).line.is_some());
    assert_eq!(error("\n\n---\na: 1\nb: x: y\n---\n").line, Some(5));
    let found = error(&card("a: 1\nb: 2\na: 3"));
    assert_eq!(found.line, Some(4), "{found:?}");
    assert!(found.message.contains("duplicate"), "{found:?}");
    assert_eq!(error(&card("- a\n- b")).message, "the yaml metadata must be an object of fields, not a list");
    assert_eq!(error(&card("just words")).line, Some(1));
    assert_eq!(error(&card("a: 1\nb: !!python/object:os.system x")).line, Some(3));
}

#[test]
fn an_invalid_card_is_refused_with_all_reasons() {
    let refused = check(card("model-index: foo").as_bytes()).unwrap_err().to_string();
    assert_eq!(refused, "Invalid metadata in README.md\n\n- line 2: \"model-index\" must be a list");
    check(b"# no metadata").unwrap();
    check(b"\xff\xfe\x00 not text at all").unwrap();
}

#[test]
fn odd_types_are_only_warned_about() {
    let found = validate(&card("license: {a: b}\ntags: [1, x]"));
    assert_eq!(found.errors, []);
    assert_eq!(found.warnings[0].line, Some(2));
    assert_eq!(Card::parse(&card("language: [en, 1, {}]")).texts("language"), ["en", "1"]);
}

#[test]
fn hostile_yaml_is_refused_quickly() {
    let laughs: String = (1..30)
        .map(|i| format!("a{i}: &a{i} [*a{0},*a{0},*a{0},*a{0},*a{0},*a{0},*a{0},*a{0},*a{0}]\n", i - 1))
        .collect();
    let long = "x".repeat(400_000);
    let hostile = [
        format!("a0: &a0 [x,x]\n{laughs}"),
        format!("a: &a {long}\nb: [{}]", "*a,".repeat(900)),
        format!("a: {}", "[".repeat(100_000)),
        format!("a: {}", "{a: ".repeat(5_000)),
        (0..5_000).map(|i| format!("{}a:\n", " ".repeat(i % 700))).collect::<String>(),
        (0..200).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect::<String>(),
        format!("a: {}", "- ".repeat(50_000)),
        "a: b\n".repeat(2) + &format!("x: {}", "y".repeat(2 << 20)),
        (0..150_000).map(|i| format!("{i}: \n")).collect::<String>(),
        format!("a: &a [{}]\nb: [{}]", "x,".repeat(2_000), "*a,".repeat(200)),
        "a: *a".to_owned(),
        "a: &a [*a]".to_owned(),
        "a: b\0c".to_owned(),
        "!!binary a: x\n!x b: y".to_owned(),
        "%YAML 9.9\n--- \na: b".to_owned(),
    ];
    for yaml in hostile {
        let began = Instant::now();
        let found = validate(&card(&yaml));
        let shown: String = yaml.chars().take(40).collect();
        assert!(!found.errors.is_empty(), "{shown}");
        assert!(found.errors.iter().all(|e| e.line.is_some() && e.message.len() <= 1_200), "{shown}: {found:?}");
        assert!(began.elapsed() < Duration::from_secs(2), "{shown}: {:?}", began.elapsed());
    }
}

proptest! {
    #[test]
    fn no_text_is_too_strange(text in "(---\n)?[-a: \\[\\]{}&*!|>'\"%#\n\t,?<]{0,60}(\n---\n)?.{0,8}") {
        let card = Card::parse(&text);
        prop_assert!(text.ends_with(card.body));
        prop_assert!(card.validation.errors.is_empty() || card.data.is_empty());
    }
}
