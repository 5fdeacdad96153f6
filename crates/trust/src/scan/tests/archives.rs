use super::made::{Lies, Zip, calls, dict, tar, torch};
use super::*;

fn evil() -> Vec<u8> {
    calls("os", "system")
}

#[test]
fn members_are_found_whatever_readers_stumble_over() {
    let lies = [
        ("a wrong checksum", Lies { crc: Some(7), ..Lies::default() }),
        ("another name in the header", Lies { local_name: Some("archive/data.pkx".into()), ..Lies::default() }),
        ("flags of encryption in the header", Lies { local_flags: 0x1, ..Lies::default() }),
        ("flags of encryption in the directory", Lies { flags: 0x1, ..Lies::default() }),
        ("flags of a patch", Lies { flags: 0x20, local_flags: 0x20, ..Lies::default() }),
        ("compression", Lies { deflate: true, ..Lies::default() }),
    ];
    for (what, lies) in lies {
        let bytes = Zip::default().lie("archive/data.pkl", &evil(), &lies).add("archive/version", b"3").finish();
        assert_eq!(verdict("m.pt", bytes), Verdict::Unsafe, "{what}");
        // The oddity alone is odd, whatever the content.
        if what != "compression" {
            let bytes = Zip::default().lie("archive/data.pkl", &dict(&[]), &lies).add("archive/version", b"3").finish();
            assert_eq!(verdict("m.pt", bytes), Verdict::Suspicious, "{what}");
        }
    }
}

#[test]
fn both_of_two_members_with_one_name_are_judged() {
    for (first, second) in [(evil(), dict(&[])), (dict(&[]), evil())] {
        let bytes = Zip::default().add("a/data.pkl", &first).add("a/data.pkl", &second).finish();
        let scan = scanned("m.pt", bytes);
        assert_eq!(scan.verdict, Verdict::Unsafe);
        assert!(broken(&scan).contains(&"archive-duplicate"));
    }
}

#[test]
fn names_make_nothing_safe() {
    for name in ["m.safetensors", "m.json", "README.md", "m.bin", "m", "m.pt.txt"] {
        assert_eq!(verdict(name, evil()), Verdict::Unsafe, "{name}");
        let bytes = Zip::default().add("inner/notes.txt", &evil()).finish();
        assert_eq!(verdict(name, bytes), Verdict::Unsafe, "{name}");
    }
    assert_eq!(verdict("m.safetensors", dict(&[])), Verdict::Suspicious);
}

#[test]
fn what_hides_between_members_is_found() {
    let header = |data: &[u8]| {
        let mut zip = Zip::default().add("x", data);
        std::mem::take(&mut zip.bytes)
    };
    let bytes = Zip::default().add("a/data.pkl", &dict(&[])).gap(&header(&evil())).add("a/version", b"3").finish();
    let scan = scanned("m.pt", bytes);
    assert_eq!(scan.verdict, Verdict::Unsafe);
    assert!(broken(&scan).contains(&"archive-hidden"));
    let end = Zip::default().add("a/data.pkl", &dict(&[])).gap(b"something").finish();
    assert_eq!(broken(&scanned("m.pt", end)), ["archive-hidden"]);
    let padded = Zip::default().add("a/data.pkl", &dict(&[])).gap(&[0; 63]).add("a/version", b"3").finish();
    assert_eq!(verdict("m.pt", padded), Verdict::Safe);
}

#[test]
fn every_format_of_a_polyglot_is_judged() {
    let archive = torch(&dict(&[]), &[]);
    let both = [evil(), archive.clone()].concat();
    let scan = scanned("m.pt", both);
    assert_eq!(scan.verdict, Verdict::Unsafe);
    assert!(broken(&scan).contains(&"polyglot"), "{:?}", broken(&scan));
    let harmless = [dict(&[]), archive].concat();
    let scan = scanned("m.pt", harmless);
    assert_eq!(scan.verdict, Verdict::Suspicious, "{:#?}", scan.findings);
    let script = [b"#!/bin/sh\nexit\n".to_vec(), torch(&evil(), &[])].concat();
    assert_eq!(verdict("m.pt", script), Verdict::Unsafe);
    let mut header = br#"{"__metadata__":{}}"#.to_vec();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.append(&mut header);
    assert_eq!(verdict("m.safetensors", file.clone()), Verdict::Safe);
    file.extend(torch(&dict(&[]), &[]));
    let scan = scanned("m.safetensors", file);
    assert!(scan.verdict >= Verdict::Suspicious, "{:?}", broken(&scan));
}

#[test]
fn archives_in_archives_are_opened() {
    let inner = torch(&evil(), &[]);
    let outer = Zip::default().lie("inner.zip", &inner, &Lies { deflate: true, ..Lies::default() }).finish();
    let scan = scanned("m.zip", outer.clone());
    assert_eq!(scan.findings[0].member.as_deref(), Some("inner.zip!archive/data.pkl"));
    let nemo = tar(&[("./model_config.yaml", b'0', b"target: nemo.x.Y\n"), ("./model_weights.ckpt", b'0', &inner)]);
    let scan = scanned("m.nemo", nemo);
    assert_eq!(scan.verdict, Verdict::Unsafe);
    assert_eq!(scan.findings[0].member.as_deref(), Some("./model_weights.ckpt!archive/data.pkl"));
    let safe = tar(&[
        ("./model_config.yaml", b'0', b"target: nemo.x.Y\n"),
        ("./model_weights.ckpt", b'0', &torch(&dict(&[]), &[])),
    ]);
    let scan = scanned("m.nemo", safe);
    assert_eq!((scan.verdict, scan.findings), (Verdict::Safe, vec![]));
    let mut gzip = b"\x1f\x8b\x08\0\0\0\0\0\0\xff".to_vec();
    gzip.extend(miniz_oxide::deflate::compress_to_vec(&evil(), 6));
    gzip.extend([0; 8]);
    assert_eq!(verdict("m.pkl.gz", gzip), Verdict::Unsafe);
    let zlib = miniz_oxide::deflate::compress_to_vec_zlib(&evil(), 6);
    assert_eq!(verdict("m.joblib", zlib), Verdict::Unsafe);
}

#[test]
fn tars_that_write_elsewhere_are_unsafe() {
    for (name, kind, expected) in [
        ("../../.bashrc", b'0', Verdict::Unsafe),
        ("/etc/passwd", b'0', Verdict::Unsafe),
        ("a", b'2', Verdict::Suspicious),
        ("a", b'1', Verdict::Suspicious),
        ("dev", b'3', Verdict::Suspicious),
        ("a.txt", b'0', Verdict::Safe),
    ] {
        assert_eq!(verdict("m.tar", tar(&[(name, kind, b"")])), expected, "{name}");
    }
    let below = tar(&[("a", b'2', b""), ("a/passwd", b'0', b"x")]);
    assert_eq!(verdict("m.tar", below), Verdict::Unsafe);
}

#[test]
fn the_oldest_torch_format_is_told() {
    let bytes = tar(&[
        ("sys_info", b'0', &dict(&[])),
        ("pickle", b'0', &evil()),
        ("storages", b'0', b"\x80\x02K\0."),
        ("tensors", b'0', b"\x80\x02K\0."),
    ]);
    let scan = scanned("m.pt", bytes);
    assert_eq!(scan.verdict, Verdict::Unsafe);
    assert!(broken(&scan).contains(&"torch-tar"));
}

#[test]
fn programs_of_torchscript_are_caution_and_their_files_unsafe() {
    let script = |source: &[u8]| {
        Zip::default()
            .add("m/data.pkl", b"\x80\x02c__torch__\nNet\n)\x81}b.")
            .add("m/constants.pkl", b"\x80\x02).")
            .add("m/code/__torch__.py", source)
            .add("m/version", b"3")
            .finish()
    };
    let scan = scanned("m.pt", script(b"class Net(Module):\n  def forward(self): return torch.add(1, 2)\n"));
    assert_eq!((scan.verdict, broken(&scan)), (Verdict::Caution, vec!["torchscript"]));
    assert_eq!(verdict("m.pt", script(b"  x = torch.from_file(\"/etc/passwd\")\n")), Verdict::Unsafe);
    assert!(broken(&scanned("m.pt", script(b"  y = ops.mine.run(x)\n"))).contains(&"custom-operator"));
}

#[test]
fn archives_that_nothing_opens_are_errors() {
    assert_eq!(verdict("m.7z", *b"7z\xbc\xaf\x27\x1c\0\x04 and more"), Verdict::Error);
    assert_eq!(verdict("m.rar", *b"Rar!\x1a\x07\x01\0 and more"), Verdict::Error);
    assert_eq!(verdict("m.zip", *b"PK\x03\x04 that ends here"), Verdict::Error);
    assert_eq!(verdict("m.xz", *b"\xfd7zXZ\0\0\0"), Verdict::Error);
}

#[test]
fn links_and_odd_names_in_zips_are_suspicious() {
    let link = Zip::default().lie("a", b"/etc/passwd", &Lies { link: true, ..Lies::default() }).finish();
    assert_eq!(verdict("m.zip", link), Verdict::Suspicious);
    for name in ["../a", "/a", "a\\b", "c:a"] {
        assert_eq!(verdict("m.zip", Zip::default().add(name, b"x").finish()), Verdict::Suspicious, "{name}");
    }
}

/// A pickle that calls `os.system`, compressed by Python's `lzma`, `lzma` in the old format, and `bz2`.
const COMPRESSED: [&[u8]; 3] = [
    b"\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4F\x02\x00!\x01\x16\x00\x00\x00t/\xe5\xa3\x01\x00\x1dcos\x0asystem\x0a(S'mkdir pwned'\x0atR.\x00\x00\x00\xcb\xc7amz\x97*i\x00\x016\x1e=\x19\x95S\x1f\xb6\xf3}\x01\x00\x00\x00\x00\x04YZ",
    b"]\x00\x00\x80\x00\xff\xff\xff\xff\xff\xff\xff\xff\x001\x9b\xca\xc6\xb2|e\xdf\xdf\x91Y\x9f\xb1\xd6~-\xd7\xc5U2jp,\xe0:t\xddB\xbf\x03UH]\x0f\xbc\xff\xffT|\x00\x00",
    b"BZh91AY&SYBc\xe7\x8b\x00\x00\x05S\x80\x00\x10@\xc1\x18\x00\x0e+\xdc\xa0 \x001@\xd3C#&!@\xd0a\x18A\xb5\xd8\x87\x02\xe2I\xd5\x0d\xa0\x1c*\xb3\xf9e\x1e\xa7\xc5\xdc\x91N\x14$\x10\x98\xf9\xe2\xc0",
];

#[test]
fn what_joblib_decompresses_is_looked_into() {
    for (stream, ending) in COMPRESSED.into_iter().zip(["xz", "lzma", "bz2"]) {
        for name in [format!("m.pkl.{ending}"), "m.joblib".to_owned(), "model.bin".to_owned()] {
            let scan = scanned(&name, stream);
            assert_eq!(scan.verdict, Verdict::Unsafe, "{name}: {:?}", scan.findings);
        }
        let zip = Zip::default().add("archive/model.joblib", stream).finish();
        assert_eq!(verdict("m.zip", zip), Verdict::Unsafe, "a member of {ending}");
        let hidden = [stream, b"more".as_slice()].concat();
        assert!(broken(&scanned("m.joblib", hidden)).contains(&"trailing-data"));
    }
}

#[test]
fn what_runs_before_the_damage_of_a_stream_is_judged() {
    for stream in COMPRESSED {
        // The last bytes are checksums, which loaders that stop at the pickle's end never read.
        let mut damaged = stream.to_vec();
        let last = damaged.len() - 3;
        damaged[last] ^= 0x55;
        damaged.truncate(last + 1);
        assert!(verdict("m.joblib", damaged) >= Verdict::Error);
    }
    let mut long = b"cos\nsystem\n(S'x'\ntR0".to_vec();
    let mut state = 1u32;
    for _ in 0..30_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        long.extend([b'K', (state >> 24) as u8, b'0']);
    }
    long.extend(*b"N.");
    let mut stream = miniz_oxide::deflate::compress_to_vec_zlib(&long, 6);
    let middle = stream.len() / 2;
    stream[middle..middle + 64].fill(0xff);
    let scan = scanned("m.joblib", stream);
    assert_eq!(scan.verdict, Verdict::Unsafe, "{:?}", scan.findings);
    assert!(broken(&scan).contains(&"archive-broken"));
}
