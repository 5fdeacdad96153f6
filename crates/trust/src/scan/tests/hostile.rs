//! Files that attack the scanner itself: each ends soon, and none is safe.

use std::time::{Duration, Instant};

use super::made::{Lies, Zip, calls as call_of, dict, torch};
use super::*;

/// Scans within a time that is generous for a debug build on a busy machine.
fn soon(name: &str, bytes: Vec<u8>) -> FileScan {
    let began = Instant::now();
    let scan = scanned(name, bytes);
    assert!(began.elapsed() < Duration::from_secs(60), "{name} took {:?}", began.elapsed());
    scan
}

#[test]
fn a_hundred_thousand_members_are_all_judged() {
    let mut zip = Zip::default();
    for number in 0..100_000 {
        zip = zip.add(&format!("{number}"), b"x");
    }
    let scan = soon("many.zip", zip.add("last", &call_of("os", "system")).finish());
    assert_eq!(scan.verdict, Verdict::Unsafe);
    assert_eq!(scan.findings[0].member.as_deref(), Some("last"));
}

#[test]
fn more_members_than_the_limit_are_an_error() {
    let mut options = Options::default();
    options.limits.members = 10;
    let mut zip = Zip::default();
    for number in 0..11 {
        zip = zip.add(&format!("{number}"), b"x");
    }
    let folder = MemoryFolder::new(vec![Section::of_bytes("m.zip", zip.finish())]);
    let scan = scan_file(&folder, "m.zip", &options);
    assert_eq!(scan.verdict, Verdict::Error);
    assert!(!scan.limits_hit.is_empty());
}

#[test]
fn archives_in_archives_end() {
    let mut bytes = torch(&call_of("os", "system"), &[]);
    for _ in 0..7 {
        bytes = Zip::default().add("inner.zip", &bytes).finish();
    }
    assert_eq!(soon("deep.zip", bytes.clone()).verdict, Verdict::Unsafe);
    for _ in 0..20 {
        bytes = Zip::default().add("inner.zip", &bytes).finish();
    }
    let scan = soon("deeper.zip", bytes);
    assert_eq!(scan.verdict, Verdict::Error);
    assert_eq!(broken(&scan), ["limit"]);
}

#[test]
fn members_that_share_their_bytes_cost_no_more_than_the_budget() {
    // Many names for one member that is an archive of many members itself.
    let mut inner = Zip::default();
    for number in 0..2_000 {
        inner = inner.add(&format!("{number}"), b"x");
    }
    let inner = inner.finish();
    let mut outer = Zip::default().add("0", &inner);
    for number in 1..2_000 {
        outer = outer.lie(
            &format!("{number}"),
            &inner,
            &Lies { header: Some(0), local_name: Some("0".into()), ..Lies::default() },
        );
    }
    let scan = soon("shared.zip", outer.finish());
    assert_eq!(scan.verdict, Verdict::Error);
    assert!(!scan.limits_hit.is_empty());
}

#[test]
fn bombs_are_told_and_not_unpacked() {
    let zeros = vec![0; 100 << 20];
    let bomb = Zip::default().lie("a", &zeros, &Lies { deflate: true, ..Lies::default() }).finish();
    let scan = soon("bomb.zip", bomb);
    assert!(scan.verdict >= Verdict::Suspicious);
    assert!(broken(&scan).contains(&"archive-bomb"));
    // The announced length is beyond every limit.
    let lies = Zip::default()
        .lie("a", &[0; 100], &Lies { deflate: true, size: Some(u32::MAX - 1), ..Lies::default() })
        .finish();
    assert_eq!(soon("lies.zip", lies).verdict, Verdict::Error);
    let mut gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\xff".to_vec();
    gzip.extend(miniz_oxide::deflate::compress_to_vec(&vec![0; 300 << 20], 1));
    gzip.extend([0; 8]);
    assert_eq!(soon("bomb.gz", gzip).verdict, Verdict::Error);
}

#[test]
fn files_cut_anywhere_are_never_safe_by_being_cut() {
    let whole = torch(
        &dict(&[("a", super::made::tensor("0", 2)), ("b", b"cos\nsystem\nX\x01\0\0\0x\x85R".to_vec())]),
        &[("0", &[0; 8])],
    );
    assert_eq!(verdict("m.pt", whole.clone()), Verdict::Unsafe);
    for end in (4..whole.len()).step_by(7) {
        let cut = whole.get(..end).unwrap();
        assert!(verdict("m.pt", cut) >= Verdict::Suspicious, "cut at {end}");
    }
    let pickle = call_of("os", "system");
    for end in 2..pickle.len() {
        assert!(verdict("m.pkl", pickle.get(..end).unwrap()) >= Verdict::Error, "cut at {end}");
    }
}

#[test]
fn streams_of_many_pickles_end() {
    let scan = soon("many.pkl", b"\x80\x02N.".repeat(100_000));
    assert_eq!(scan.verdict, Verdict::Error);
    assert_eq!(broken(&scan), ["limit"]);
    assert_eq!(soon("few.pkl", b"\x80\x02N.".repeat(100)).verdict, Verdict::Safe);
}

#[test]
fn pickles_that_nest_or_share_cost_what_their_bytes_cost() {
    // 2^200000 values, if each were followed.
    let mut shared = b"\x80\x02]".to_vec();
    shared.extend(b"2\x86".repeat(200_000));
    shared.push(b'.');
    assert_eq!(soon("shared.pkl", shared).verdict, Verdict::Safe);
    let mut deep = b"\x80\x02".to_vec();
    deep.extend(vec![b']'; 300_000]);
    deep.extend(vec![b'a'; 299_999]);
    deep.push(b'.');
    assert_eq!(soon("deep.pkl", deep).verdict, Verdict::Safe);
    // A thousand calls deep, so that showing one must not follow all.
    let mut calls = b"\x80\x02Nq\x000".to_vec();
    calls.extend(b"cos\nsystem\nh\x00\x85Rq\x000".repeat(1000));
    calls.extend(b"h\x00.");
    assert_eq!(soon("calls.pkl", calls).verdict, Verdict::Unsafe);
}

#[test]
fn findings_without_end_are_bounded_and_the_worst_are_kept() {
    let mut bytes = b"\x80\x02(".to_vec();
    for number in 0..3_000 {
        bytes.extend(format!("cunknown\nname{number}\n").as_bytes());
    }
    bytes.extend(b"cos\nsystem\nX\x01\0\0\0x\x85Rt.");
    let scan = soon("many.pkl", bytes);
    assert_eq!(scan.verdict, Verdict::Unsafe);
    assert_eq!(scan.findings[0].rule, "pickle-dangerous");
    assert!(scan.findings.len() <= 500 && !scan.limits_hit.is_empty());
}

#[test]
fn containers_of_every_kind_in_each_other_end() {
    let tar = |name: &str, data: &[u8]| {
        let mut head = vec![0u8; 512];
        head[..name.len()].copy_from_slice(name.as_bytes());
        head[100..107].copy_from_slice(b"0000644");
        head[124..135].copy_from_slice(format!("{:011o}", data.len()).as_bytes());
        head[148..156].copy_from_slice(b"        ");
        head[156] = b'0';
        head[257..263].copy_from_slice(b"ustar\0");
        let sum: u32 = head.iter().map(|&byte| u32::from(byte)).sum();
        head[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        head.extend(data);
        head.resize(head.len().div_ceil(512) * 512 + 1024, 0);
        head
    };
    let gzip = |data: &[u8]| {
        let mut out = b"\x1f\x8b\x08\0\0\0\0\0\0\xff".to_vec();
        out.extend(miniz_oxide::deflate::compress_to_vec(data, 6));
        out.extend(weighthouse_format::zip::crc(data).to_le_bytes());
        out.extend((data.len() as u32).to_le_bytes());
        out
    };
    let mut bytes = call_of("os", "system");
    for round in 0..3 {
        bytes = Zip::default().add("inner", &gzip(&tar("inner", &bytes))).finish();
        let expected = if round < 2 { Verdict::Unsafe } else { Verdict::Error };
        assert_eq!(soon("deep.bin", bytes.clone()).verdict, expected, "round {round}");
    }
}

#[test]
fn a_file_whose_time_is_up_is_an_error() {
    let mut zip = Zip::default();
    for number in 0..1_000 {
        zip = zip.add(&format!("{number}"), b"x");
    }
    let folder =
        MemoryFolder::new(vec![Section::of_bytes("m.zip", zip.add("last", &call_of("os", "system")).finish())]);
    let asked = std::cell::Cell::new(0);
    let stop = || {
        asked.set(asked.get() + 1);
        asked.get() > 100
    };
    let scan = scan_file_within(&folder, "m.zip", &Options::default(), &stop);
    assert_eq!((scan.verdict, broken(&scan)), (Verdict::Error, vec!["limit"]));
    assert!(scan.limits_hit.contains(&"its time is up".to_owned()) && asked.get() < 110, "{:?}", scan.limits_hit);
}

#[test]
fn documents_that_are_slow_to_judge_end() {
    let mut anchors = "a0: &a0 [x, x]\n".to_owned();
    for number in 1..40 {
        anchors += &format!("a{number}: &a{number} [*a{}, *a{}]\n", number - 1, number - 1);
    }
    for (name, text) in [
        ("config.yaml", anchors),
        ("config.yaml", "a: ".repeat(50_000)),
        ("config.yaml", "? ".repeat(200_000)),
        ("config.json", format!("{{\"a\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000))),
        ("config.json", format!("{{{}\"z\": 1}}", "\"a\": {\"a\": NaN}, ".repeat(100_000))),
        ("config.json", format!("[{}1]", "\"\\ud800\",".repeat(200_000))),
        ("graph.pbtxt", "op op op : ".repeat(300_000)),
        ("graph.pbtxt", format!("op: \"{}", "\\".repeat(1_000_000))),
        ("requirements.txt", "git+".repeat(500_000)),
        ("model.pth", "import\n".repeat(300_000)),
        ("chat_template.jinja", format!("{}x{}", "{% set a %}".repeat(20_000), "{% endset %}".repeat(20_000))),
        ("chat_template.jinja", "{% macro a() %}{{ a() ~ a() }}{% endmacro %}".repeat(10_000)),
    ] {
        soon(name, text.into_bytes());
    }
}

#[test]
fn any_bytes_end_with_a_verdict() {
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let heads: [&[u8]; 12] = [
        b"PK\x03\x04",
        b"\x80\x04",
        b"GGUF\x03\0\0\0",
        b"\x93NUMPY\x01\0",
        b"\x89HDF\r\n\x1a\n",
        b"{\"",
        b"{{ ",
        b"\x1f\x8b\x08",
        b"\x08\x08\x12\x04",
        b"\x0a\x04",
        b"(dp",
        b"c",
    ];
    for round in 0..600 {
        let mut bytes = heads[round % heads.len()].to_vec();
        for _ in 0..next() % 400 {
            bytes.push(next() as u8);
        }
        for name in ["m.pt", "m.onnx", "m.pb", "m.jinja", "m.json", "m.yaml"] {
            let scan = scanned(name, bytes.clone());
            assert_eq!(scan.verdict, scan.findings.iter().map(|finding| finding.verdict).max().unwrap_or_default());
        }
    }
    // Damage to a good file, one byte at a time.
    let good = torch(&dict(&[("a", super::made::tensor("0", 2))]), &[("0", &[0; 8])]);
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (next() % 8);
        scanned("m.pt", bytes);
    }
}
