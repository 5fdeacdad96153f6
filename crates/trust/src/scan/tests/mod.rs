//! Promises of the scanner, on files that are made here.

mod archives;
mod configs;
mod formats;
mod hostile;
mod made;
mod pickles;
mod templates;

use weighthouse_format::Section;
use weighthouse_format::source::MemoryFolder;

use super::*;

/// Scans one file of this name and content.
fn scanned(name: &str, bytes: impl Into<Vec<u8>>) -> FileScan {
    let folder = MemoryFolder::new(vec![Section::of_bytes(name, bytes)]);
    scan_file(&folder, name, &Options::default())
}

/// The verdict on a file.
fn verdict(name: &str, bytes: impl Into<Vec<u8>>) -> Verdict {
    scanned(name, bytes).verdict
}

/// Rules that a file breaks, the gravest first, each once.
fn broken(scan: &FileScan) -> Vec<&str> {
    let mut found: Vec<&str> = Vec::new();
    for finding in &scan.findings {
        if !found.contains(&finding.rule.as_ref()) {
            found.push(&finding.rule);
        }
    }
    found
}

#[test]
fn a_report_says_where_how_and_what_to_do() {
    let bytes = made::torch(&made::dict(&[("a", b"cposix\nsystem\nX\x02\0\0\0id\x85R".to_vec())]), &[]);
    let scan = scanned("model.pt", bytes);
    assert_eq!(scan.verdict, Verdict::Unsafe);
    let finding = &scan.findings[0];
    assert_eq!(finding.rule, "pickle-dangerous");
    assert_eq!(finding.detail, "calls `posix.system('id')`, which runs any command of the system");
    assert_eq!(finding.member.as_deref(), Some("archive/data.pkl"));
    assert_eq!(finding.path_in_object.as_deref(), Some("root[\"a\"]"));
    assert_eq!((finding.opcode.as_deref(), finding.op, finding.offset), (Some("REDUCE"), Some(6), Some(31)));
    assert_eq!(scan.imports.len(), 1);
    assert_eq!((scan.imports[0].safety, scan.imports[0].called), (Safety::Dangerous, 1));
    assert!(finding.advice.contains("safetensors"));
}

#[test]
fn a_report_is_the_same_every_time_and_survives_being_stored() {
    let folder = MemoryFolder::new(vec![
        Section::of_bytes("b.pkl", *b"cos\nsystem\n(S'id'\ntR."),
        Section::of_bytes("a.json", *b"{\"auto_map\": {\"AutoModel\": \"m.M\"}}"),
        Section::of_bytes("README.md", *b"# hello"),
    ]);
    let one = scan(&folder, None, &Options::default());
    let text = serde_json::to_string(&one).unwrap();
    assert_eq!(text, serde_json::to_string(&scan(&folder, None, &Options::default())).unwrap());
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), one);
    assert_eq!((one.schema.as_ref(), one.verdict), ("weighthouse.scan/1", Verdict::Unsafe));
    let verdicts: Vec<_> = one.files.iter().map(|file| (file.path.as_str(), file.verdict)).collect();
    assert_eq!(verdicts, [("README.md", Verdict::Safe), ("a.json", Verdict::Caution), ("b.pkl", Verdict::Unsafe)]);
    let sarif = sarif::document(&one);
    assert_eq!(sarif["runs"][0]["results"].as_array().unwrap().len(), one.findings.len());
    assert_eq!(sarif["runs"][0]["results"][0]["level"], "error");
}

#[test]
fn a_file_that_is_not_there_is_not_safe() {
    let folder = MemoryFolder::new(Vec::new());
    assert_eq!(scan_file(&folder, "gone.pt", &Options::default()).verdict, Verdict::Error);
}

#[test]
fn the_opcodes_that_lead_to_a_call_are_told() {
    let bytes = made::torch(b"\x80\x02cposix\nsystem\nX\x02\0\0\0id\x85R.", &[]);
    let folder = MemoryFolder::new(vec![Section::of_bytes("m.pt", bytes)]);
    let report = scan(&folder, Some("m.pt"), &Options::default());
    let lines = trace::around(&folder, &report.findings[0], &weighthouse_format::Limits::default()).unwrap();
    let told: Vec<_> = lines.iter().map(|line| (line.opcode, line.argument.as_str(), line.here)).collect();
    assert_eq!(
        told,
        [
            ("PROTO", "2", false),
            ("GLOBAL", "posix.system", false),
            ("BINUNICODE", "'id'", false),
            ("TUPLE1", "", false),
            ("REDUCE", "", true),
            ("STOP", "", false),
        ]
    );
}
