use proptest::prelude::*;

use super::made::{Lies, Made};
use super::*;

fn open(bytes: Vec<u8>) -> Archive {
    Archive::read(&Section::of_bytes("a.zip", bytes), &Limits::default()).unwrap()
}

fn kinds(archive: &mut Archive) -> Vec<WarningKind> {
    archive.take_warnings().into_iter().map(|warning| warning.kind).collect()
}

fn two() -> Made {
    Made::default().add("one", b"first").add("two", b"second member")
}

#[test]
fn members_are_read_in_place_and_deflated_ones_are_decoded() {
    let lies = Lies { deflate: true, ..Lies::default() };
    let mut archive = open(two().lie("three", &[7; 5000], &lies).finish());
    let limits = Limits::default();
    let two = archive.open_named("two").unwrap();
    assert_eq!(two.section().unwrap().head("bytes", 99).unwrap(), b"second member");
    let three = archive.open_named("three").unwrap();
    assert_eq!(three.bytes(&limits).unwrap(), [7; 5000]);
    assert!(three.section().is_err());
    assert_eq!(three.place().unwrap().1, [Filter::Deflate]);
    archive.check();
    assert_eq!(archive.take_warnings(), []);
    assert!(matches!(archive.open_named("none"), Err(FormatError::NoFile { .. })));
}

#[test]
fn the_64_bit_end_record_counts_where_it_is() {
    let mut archive = open(two().finish64());
    archive.check();
    assert_eq!((archive.entries().len(), archive.take_warnings()), (2, vec![]));
}

#[test]
fn bytes_around_the_archive_are_told() {
    let mut bytes = b"#!/bin/sh\n".to_vec();
    bytes.extend(two().finish());
    bytes.extend(b"after");
    let mut archive = open(bytes);
    archive.check();
    assert_eq!(archive.open_named("one").unwrap().bytes(&Limits::default()).unwrap(), b"first");
    assert_eq!(kinds(&mut archive), [WarningKind::Extra, WarningKind::Polyglot]);
    let mut archive = open(Made::default().add("one", b"1").gap(b"hidden").add("two", b"2").gap(b"more").finish());
    archive.check();
    assert_eq!(kinds(&mut archive), [WarningKind::Extra, WarningKind::Extra]);
}

#[test]
fn local_headers_that_say_something_else_are_told() {
    let lies = [
        Lies { local_name: Some("other".into()), ..Lies::default() },
        Lies { local_flags: 1, ..Lies::default() },
        Lies { local_flags: 0x20, ..Lies::default() },
        Lies { local_flags: 0x40, ..Lies::default() },
        Lies { local_crc: Some(1), ..Lies::default() },
        Lies { size: Some(3), stored: Some(3), ..Lies::default() },
    ];
    for lie in &lies {
        let mut archive = open(Made::default().lie("name", b"data", lie).finish());
        archive.open_named("name").unwrap();
        let found = kinds(&mut archive);
        assert!(!found.is_empty() && found.iter().all(|&kind| kind == WarningKind::Disagreement), "{found:?}");
    }
}

#[test]
fn duplicates_overlaps_and_bad_names_are_told() {
    let again = Lies { header: Some(0), ..Lies::default() };
    let mut archive = open(Made::default().add("one", b"1").lie("one", b"1", &again).finish());
    archive.check();
    let found = kinds(&mut archive);
    assert!(found.contains(&WarningKind::Duplicate) && found.contains(&WarningKind::Disagreement));
    for name in ["../x", "/x", "a\\b", "c:x", "a\0b", ""] {
        assert_eq!(kinds(&mut open(Made::default().add(name, b"1").finish())), [WarningKind::Name], "{name:?}");
    }
}

#[test]
fn encrypted_members_are_refused() {
    let lies = Lies { central_flags: 1, local_flags: 1, ..Lies::default() };
    let mut archive = open(Made::default().lie("secret", b"1", &lies).finish());
    assert!(matches!(archive.open_named("secret"), Err(FormatError::Unsupported { .. })));
}

#[test]
fn wrong_checksums_and_sizes_are_errors_of_the_member() {
    let limits = Limits::default();
    let mut bytes = two().finish();
    bytes[33] ^= 1;
    assert!(matches!(open(bytes).open_named("one").unwrap().bytes(&limits), Err(FormatError::ChecksumMismatch { .. })));
    for size in [4999, 5001] {
        let lies = Lies { deflate: true, size: Some(size), ..Lies::default() };
        let member = open(Made::default().lie("x", &[1; 5000], &lies).finish()).open_named("x").unwrap();
        assert!(member.bytes(&limits).is_err());
    }
}

#[test]
fn bombs_are_refused_before_they_are_decoded() {
    let limits = Limits { decoded_bytes: 1 << 20, ..Limits::default() };
    let lies = Lies { deflate: true, ..Lies::default() };
    let member = open(Made::default().lie("x", &vec![0; 2 << 20], &lies).finish()).open_named("x").unwrap();
    assert!(matches!(member.bytes(&limits), Err(FormatError::TooLarge { .. })));
    let claims = Lies { deflate: true, size: Some(1 << 30), ..Lies::default() };
    let member = open(Made::default().lie("x", b"small", &claims).finish()).open_named("x").unwrap();
    assert!(matches!(member.bytes(&Limits::default()), Err(FormatError::TooLarge { .. })));
}

#[test]
fn what_is_no_archive_is_refused() {
    let limits = Limits::default();
    let read = |bytes: &[u8]| Archive::read(&Section::of_bytes("x", bytes), &limits);
    assert!(matches!(read(b""), Err(FormatError::BadMagic { .. })));
    assert!(matches!(read(&[0; 100_000]), Err(FormatError::BadMagic { .. })));
    let good = two().finish();
    for cut in 1..good.len() {
        assert!(read(&good[..cut]).is_err(), "cut at {cut}");
    }
}

proptest! {
    #[test]
    fn damaged_archives_end_without_a_panic(changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..6)) {
        let lies = Lies { deflate: true, ..Lies::default() };
        let mut bytes = two().lie("three", &[9; 300], &lies).finish64();
        let len = bytes.len();
        for (at, value) in changes {
            bytes[at % len] = value;
        }
        if let Ok(mut archive) = Archive::read(&Section::of_bytes("x", bytes), &Limits::default()) {
            archive.check();
            let limits = Limits { decoded_bytes: 1 << 20, ..Limits::default() };
            for index in 0..archive.entries().len() {
                if let Ok(member) = archive.open(index) {
                    let _ = member.bytes(&limits);
                }
            }
        }
    }
}
