use serde_json::{Value, json};

use super::*;

const DIGEST: &str = "aa00000000000000000000000000000000000000000000000000000000000001";

fn advisory(affected: Value) -> Value {
    json!({
        "schema": SCHEMA, "id": "LAB-2026-1", "summary": "It is bad.", "severity": "high",
        "references": ["https://example.org/1"], "published": "2026-11-26T08:00:00Z", "affected": affected,
    })
}

fn index(affected: Value) -> Index {
    Index::new(parse(advisory(affected).to_string().as_bytes()).unwrap())
}

fn refused(change: impl Fn(&mut Value)) -> String {
    let mut value = advisory(json!([{"file": {"sha256": DIGEST}}]));
    change(&mut value);
    parse(value.to_string().as_bytes()).unwrap_err().to_string()
}

#[test]
fn a_feed_is_one_advisory_or_many() {
    let one = advisory(json!([{"file": {"sha256": DIGEST.to_uppercase()}}]));
    let found = parse(one.to_string().as_bytes()).unwrap();
    assert_eq!(found[0].affected, [Affected::File { sha256: DIGEST.to_owned() }]);
    assert_eq!(found[0].modified, "2026-11-26T08:00:00Z");
    // What is written down is read again.
    let again = parse(&serde_json::to_vec(&found).unwrap()).unwrap();
    assert_eq!(found, again);
    assert_eq!(parse(json!({"advisories": [one]}).to_string().as_bytes()).unwrap(), found);
    assert!(parse(b"[]").unwrap().is_empty());
}

#[test]
fn a_feed_with_one_wrong_word_is_refused_whole() {
    for (change, said) in [
        (json!({"id": "a b"}), "`id`"),
        (json!({"id": "x".repeat(65)}), "`id`"),
        (json!({"schema": "weighthouse.advisory/9"}), "`schema`"),
        (json!({"severity": "terrible"}), "terrible"),
        (json!({"summary": ""}), "`summary`"),
        (json!({"summary": "x".repeat(501)}), "`summary`"),
        (json!({"summary": "a\u{202e}b"}), "`summary`"),
        (json!({"summary": "a\nb"}), "`summary`"),
        (json!({"details": "\u{1b}[31m"}), "`details`"),
        (json!({"references": ["javascript:alert(1)"]}), "no web address"),
        (json!({"references": vec!["https://example.org"; 101]}), "`references`"),
        (json!({"published": "yesterday"}), "no time"),
        (json!({"published": "2026-13-26T08:00:00Z"}), "no time"),
        (json!({"withdrawn": "2026-11-26"}), "no time"),
        (json!({"affected": []}), "`affected`"),
        (json!({"affected": [{"file": {"sha256": "abc"}}]}), "64 hexadecimal"),
        (json!({"affected": [{"file": {"sha256": DIGEST, "size": 1}}]}), "size"),
        (json!({"affected": [{"everything": {}}]}), "everything"),
        (json!({"affected": [{"facts": {}}]}), "fit everything"),
        (json!({"affected": [{"repository": {"id": "a/b", "commits": ["main"]}}]}), "40 hexadecimal"),
        (json!({"affected": [{"facts": {"config": [{"key": "a..b", "exists": true}]}}]}), "`key`"),
        (json!({"affected": [{"facts": {"config": [{"key": "a", "version": "about 3"}]}}]}), "begins with none"),
        (json!({"affected": [{"facts": {"config": [{"key": "a", "equals": [1]}]}}]}), "plain value"),
        (json!({"affected": [{"facts": {"config": [{"key": "a"}]}}]}), ""),
    ] {
        let error = refused(|value| {
            let Value::Object(change) = change.clone() else { unreachable!() };
            value.as_object_mut().unwrap().extend(change);
        });
        assert!(error.starts_with("advisory 1") && error.contains(said), "{change}: {error}");
    }
    let twice =
        json!([advisory(json!([{"file": {"sha256": DIGEST}}])), advisory(json!([{"file": {"sha256": DIGEST}}]))]);
    assert!(parse(twice.to_string().as_bytes()).unwrap_err().to_string().contains("two advisories"));
    for wrong in [&b"{"[..], b"7", b"{\"advisories\": 1}", b"\xff\xfe", "[".repeat(100_000).as_bytes()] {
        assert!(parse(wrong).is_err());
    }
}

#[test]
fn a_huge_feed_is_refused_before_it_is_read() {
    let long = vec![b' '; MAX_FEED_BYTES as usize + 1];
    assert!(parse(&long).unwrap_err().to_string().contains("limit"));
    let many = json!([advisory(Value::Array(vec![json!({"file": {"sha256": DIGEST}}); 10_001]))]);
    assert!(parse(many.to_string().as_bytes()).unwrap_err().to_string().contains("`affected`"));
}

#[test]
fn files_and_tensors_are_found_by_what_is_in_them() {
    let found = index(json!([{"file": {"sha256": DIGEST}}, {"tensor": {"sha256": DIGEST}}]));
    let files = [FileFact { path: "a/model.bin", sha256: DIGEST }, FileFact { path: "b", sha256: "00" }];
    let subject = Subject { files: &files, ..Subject::default() };
    assert_eq!(found.matches(&subject)[0].evidence, [Evidence::File { path: "a/model.bin".to_owned() }]);
    let tensors = [(DIGEST.to_owned(), "lm_head.weight".to_owned())];
    let subject = Subject { tensors: &tensors, ..Subject::default() };
    assert_eq!(found.matches(&subject)[0].evidence, [Evidence::Tensor { name: "lm_head.weight".to_owned() }]);
    assert!(found.matches(&Subject::default()).is_empty());
    let many: Vec<FileFact<'_>> = (0..1000).map(|_| files[0].clone()).collect();
    let paths: Vec<String> = (0..1000).map(|number| format!("{number}")).collect();
    let many: Vec<FileFact<'_>> = many.into_iter().zip(&paths).map(|(file, path)| FileFact { path, ..file }).collect();
    assert_eq!(found.matches(&Subject { files: &many, ..Subject::default() })[0].evidence.len(), 20);
}

#[test]
fn repositories_are_named_whole_or_by_commit() {
    let commit = "b".repeat(40);
    let found = index(json!([{"repository": {"id": "Evil/Model", "commits": [commit]}}]));
    let at = |repo, commit| found.matches(&Subject { repo, commit, ..Subject::default() });
    assert_eq!(at("evil/model", &commit)[0].evidence, [Evidence::Commit]);
    let other = "c".repeat(40);
    assert!(at("evil/model", &other).is_empty() && at("evil/other", &commit).is_empty());
    let found = index(json!([{"repository": {"id": "evil/model"}}]));
    let subject = Subject { repo: "evil/MODEL", commit: "", ..Subject::default() };
    assert_eq!(found.matches(&subject)[0].evidence, [Evidence::Repository]);
    assert!(found.names_repo("EVIL/model"));
}

#[test]
fn configurations_answer_what_is_asked() {
    let config = |path: &str, document: Value| Config { path: path.to_owned(), document };
    let saved = |version: &str| config("config.json", json!({"transformers_version": version, "sub": [{"k": "x/y"}]}));
    let asks = |conditions: Value| index(json!([{"facts": {"formats": ["safetensors"], "config": conditions}}]));
    let said = |conditions: Value, configs: &[Config]| {
        let formats = ["safetensors".to_owned()];
        !asks(conditions).matches(&Subject { formats: &formats, configs, ..Subject::default() }).is_empty()
    };
    let range = json!([{"key": "transformers_version", "version": ">=4.56, <5.3"}]);
    assert!(said(range.clone(), &[saved("4.57.1")]) && !said(range.clone(), &[saved("5.3.0")]));
    assert!(!said(range.clone(), &[saved("unknown")]) && !said(range.clone(), &[]));
    assert!(said(json!([{"key": "sub.*.k", "contains": "/"}]), &[saved("5")]));
    assert!(said(json!([{"key": "sub.0.k", "equals": "x/y"}]), &[saved("5")]));
    assert!(said(json!([{"key": "absent", "exists": false}]), &[saved("5")]));
    assert!(!said(json!([{"key": "sub", "exists": false}]), &[saved("5")]));
    assert!(said(json!([{"key": "transformers_version", "in": ["4", "5"]}]), &[saved("5")]));
    // One file must answer all questions.
    let both = json!([{"key": "a", "equals": 1}, {"key": "b", "equals": 2}]);
    let split = [config("x/config.json", json!({"a": 1})), config("y/config.json", json!({"b": 2}))];
    assert!(!said(both.clone(), &split) && said(both, &[config("x/config.json", json!({"a": 1, "b": 2}))]));
    // Another format is another matter.
    let found =
        asks(range).matches(&Subject { formats: &["gguf".to_owned()], configs: &[saved("5")], ..Subject::default() });
    assert!(found.is_empty());
    let index = asks(json!([{"file": "unet/config.json", "key": "a", "exists": true}]));
    assert!(index.asks_about("unet/config.json") && !index.asks_about("config.json"));
}

#[test]
fn what_was_withdrawn_matches_nothing() {
    let mut value = advisory(json!([{"repository": {"id": "a/b"}}]));
    value["withdrawn"] = "2026-11-27T00:00:00Z".into();
    let index = Index::new(parse(value.to_string().as_bytes()).unwrap());
    assert!(index.is_empty() && index.matches(&Subject { repo: "a/b", ..Subject::default() }).is_empty());
}

#[test]
fn the_gravest_comes_first() {
    let mut list = Vec::new();
    for (id, severity) in [("A", "low"), ("B", "critical"), ("C", "high")] {
        let mut value = advisory(json!([{"repository": {"id": "a/b"}}]));
        value["id"] = id.into();
        value["severity"] = severity.into();
        list.push(value);
    }
    let index = Index::new(parse(Value::Array(list).to_string().as_bytes()).unwrap());
    let found = index.matches(&Subject { repo: "a/b", ..Subject::default() });
    assert_eq!(found.iter().map(|found| found.id.as_str()).collect::<Vec<_>>(), ["B", "C", "A"]);
}
