use proptest::prelude::*;

use super::*;

const HEADER: &str = r#"{"key":"header","value":{"summary":"s","description":""}}"#;

fn parse_in_pieces(body: &[u8], piece: usize, limits: &CommitLimits) -> Result<Vec<CommitLine>, CommitBodyError> {
    let mut parser = CommitParser::new(limits.clone());
    let mut out = Vec::new();
    for mut bytes in body.chunks(piece.max(1)) {
        while let Some(line) = parser.next_line(&mut bytes)? {
            out.push(line);
        }
        assert!(parser.held_bytes() <= limits.max_line_bytes());
    }
    out.extend(parser.finish()?);
    Ok(out)
}

fn parse(body: &str) -> Result<Vec<CommitLine>, CommitBodyError> {
    parse_in_pieces(body.as_bytes(), usize::MAX, &CommitLimits::default())
}

fn refused(body: &str) -> String {
    parse(body).unwrap_err().to_string()
}

/// A refusal of one line after a good header.
fn refused_line(line: &str) -> String {
    refused(&format!("{HEADER}\n{line}\n"))
}

#[test]
fn every_operation_of_the_clients_is_understood() {
    let oid = "AB".repeat(32);
    let body = [
        r#"{"key":"header","value":{"summary":"Add","description":"d","parentCommit":"ABCDE"}}"#,
        r#"{"key":"file","value":{"content":"aGk=","path":"a.txt","encoding":"base64"}}"#,
        r#"{"value":{"encoding":"utf-8","content":"h\u00e9","path":"b.txt"},"key":"file"}"#,
        r#"{"key":"file","value":{"content":"","path":"empty","encoding":"base64"}}"#,
        r#"{"key":"file","value":{"path":"new","oldPath":"old"}}"#,
        "",
        &format!(r#"{{"key":"lfsFile","value":{{"path":"m","algo":"sha256","oid":"{oid}","size":3}}}}"#),
        &format!(r#"{{"key":"lfsFile","value":{{"path":"c","oid":"{oid}","oldPath":"m"}}}}"#),
        r#"{"key":"deletedFile","value":{"path":"x","later":[1]}}"#,
        "{\"key\":\"deletedFolder\",\"value\":{\"path\":\"y/\"}}\r",
    ]
    .join("\n");
    let lines = parse(&body).unwrap();
    let oid = "ab".repeat(32);
    let file = |path: &str, content: &'static str| {
        CommitLine::Operation(Operation::File {
            path: path.into(),
            content: Some(Bytes::from_static(content.as_bytes())),
            old_path: None,
        })
    };
    assert_eq!(
        lines,
        [
            CommitLine::Header(CommitHeader {
                summary: "Add".into(),
                description: "d".into(),
                parent_commit: Some("abcde".into()),
            }),
            file("a.txt", "hi"),
            file("b.txt", "hé"),
            file("empty", ""),
            CommitLine::Operation(Operation::File { path: "new".into(), content: None, old_path: Some("old".into()) }),
            CommitLine::Operation(Operation::LfsFile {
                path: "m".into(),
                oid: oid.clone(),
                size: Some(3),
                old_path: None,
            }),
            CommitLine::Operation(Operation::LfsFile { path: "c".into(), oid, size: None, old_path: Some("m".into()) }),
            CommitLine::Operation(Operation::DeletedFile { path: "x".into() }),
            CommitLine::Operation(Operation::DeletedFolder { path: "y/".into() }),
        ]
    );
}

#[test]
fn a_body_without_a_header_is_refused() {
    assert_eq!(refused(""), "the commit has no header line");
    assert_eq!(refused("\n\n"), "the commit has no header line");
    assert_eq!(
        refused(r#"{"key":"deletedFile","value":{"path":"a"}}"#),
        "line 1: the first line must be the header, not `deletedFile`"
    );
    assert_eq!(refused_line(HEADER), "line 2: a second header");
}

#[test]
fn errors_name_line_and_place() {
    assert_eq!(
        refused_line(r#"{"key":"file","value":{"path":"a","content":"*"}}"#),
        "line 2: content of `a` is not base64: Invalid symbol 42, offset 0."
    );
    assert_eq!(
        refused_line(r#"{"key":"rename","value":{"path":"a"}}"#),
        "line 2, column 15: unknown variant `rename`, expected one of `header`, `file`, \
         `lfsFile`, `deletedFile`, `deletedFolder`"
    );
    assert!(refused_line(r#"{"key":"file","#).starts_with("line 2, column 14: EOF"));
    assert!(refused_line(r#"{"key":"deletedFile","value":{}}"#).contains("missing field `path`"));
    assert!(refused_line("[]").starts_with("line 2, column "));
    assert!(refused_line(&"[".repeat(1000)).starts_with("line 2, column "));
    assert_eq!(
        refused_line(r#"{"key":"file","value":{"path":"a"}}"#),
        "line 2: `content` is missing, and there is no `oldPath` to copy from"
    );
    assert_eq!(
        refused_line(r#"{"key":"lfsFile","value":{"path":"a","oid":"12","size":1}}"#),
        "line 2: `oid` must be a SHA-256 as 64 hex digits"
    );
    assert_eq!(refused_line(r#"{"key":"deletedFile","value":{"path":""}}"#), "line 2: `path` must not be empty");
    assert_eq!(
        refused(r#"{"key":"header","value":{"summary":"s","parentCommit":"main"}}"#),
        "line 1: `parentCommit` must be a commit id of 5 to 40 hex digits"
    );
}

#[test]
fn bytes_that_are_no_text_are_named_by_their_place() {
    let body = [HEADER.as_bytes(), b"\n{\"key\":\"\xff\"}\n"].concat();
    let error = parse_in_pieces(&body, 7, &CommitLimits::default()).unwrap_err();
    assert_eq!(error, CommitBodyError::NotUtf8 { line: 2, column: 9 });
}

fn small_limits() -> CommitLimits {
    CommitLimits { max_file_bytes: 100, max_total_bytes: 1 << 20, max_operations: 3 }
}

#[test]
fn a_file_of_exactly_the_limit_passes_and_one_byte_more_does_not() {
    for (size, passes) in [(100, true), (101, false), (200, false)] {
        let operation = CommitLine::Operation(Operation::File {
            path: "a".into(),
            content: Some(vec![7; size].into()),
            old_path: None,
        });
        let body = [HEADER.as_bytes(), b"\n", &operation.to_ndjson()].concat();
        let parsed = parse_in_pieces(&body, 10, &small_limits());
        assert_eq!(parsed.is_ok(), passes, "{size}: {parsed:?}");
        if let Err(error) = parsed {
            assert!(error.is_too_large(), "{error}");
        }
    }
}

#[test]
fn an_endless_line_is_refused_without_being_held() {
    let limits = small_limits();
    let mut parser = CommitParser::new(limits.clone());
    let mut sent = 0;
    let error = loop {
        let mut bytes: &[u8] = &[b' '; 4096];
        sent += bytes.len();
        if let Err(error) = parser.next_line(&mut bytes) {
            break error;
        }
    };
    assert!(matches!(error, CommitBodyError::LineTooLong { line: 1, .. }));
    assert!(sent <= limits.max_line_bytes() + 4096);
}

#[test]
fn endless_blank_lines_and_operations_are_refused() {
    let blank = "\n".repeat(2 << 20);
    let error = parse_in_pieces(blank.as_bytes(), 1 << 16, &small_limits()).unwrap_err();
    assert!(matches!(error, CommitBodyError::BodyTooLarge { .. }));

    let deletion = "{\"key\":\"deletedFile\",\"value\":{\"path\":\"a\"}}\n";
    let body = format!("{HEADER}\n{}", deletion.repeat(4));
    let error = parse_in_pieces(body.as_bytes(), 50, &small_limits()).unwrap_err();
    assert_eq!(error, CommitBodyError::TooManyOperations { line: 5, limit: 3 });
}

#[test]
fn hostile_limits_do_not_overflow() {
    let limits = CommitLimits { max_file_bytes: u64::MAX, ..small_limits() };
    assert_eq!(limits.max_line_bytes(), usize::MAX);
}

fn any_line() -> impl Strategy<Value = CommitLine> {
    let path = "[^\u{0}]{1,20}";
    let old_path = proptest::option::of(path);
    let file = (path, any::<Vec<u8>>(), old_path.clone()).prop_map(|(path, content, old_path)| Operation::File {
        path,
        content: Some(content.into()),
        old_path,
    });
    let large = (path, "[0-9a-f]{64}", any::<Option<u64>>(), old_path)
        .prop_map(|(path, oid, size, old_path)| Operation::LfsFile { path, oid, size, old_path });
    prop_oneof![
        file,
        large,
        path.prop_map(|path| Operation::DeletedFile { path }),
        path.prop_map(|path| Operation::DeletedFolder { path }),
    ]
    .prop_map(CommitLine::Operation)
}

proptest! {
    #[test]
    fn written_commits_read_back_however_they_are_cut(
        summary in "\\PC{0,30}",
        operations in proptest::collection::vec(any_line(), 0..8),
        piece in 1usize..200,
    ) {
        let header = CommitHeader { summary, ..CommitHeader::default() };
        let lines: Vec<_> = std::iter::once(CommitLine::Header(header)).chain(operations).collect();
        let mut body: Vec<u8> = lines.iter().flat_map(CommitLine::to_ndjson).collect();
        let limits = CommitLimits::default();
        prop_assert_eq!(&parse_in_pieces(&body, piece, &limits).unwrap(), &lines);
        body.pop();
        prop_assert_eq!(&parse_in_pieces(&body, piece, &limits).unwrap(), &lines);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(
        body in proptest::collection::vec(any::<u8>(), 0..400),
        piece in 1usize..100,
    ) {
        let _ = parse_in_pieces(&body, piece, &small_limits());
        let after_header = [HEADER.as_bytes(), b"\n", &body].concat();
        let _ = parse_in_pieces(&after_header, piece, &small_limits());
    }
}
