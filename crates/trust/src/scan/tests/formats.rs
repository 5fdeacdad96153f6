use super::made::calls;
use super::*;
use weighthouse_format::source::MemoryFolder;

/// A field of bytes of a protocol buffer.
fn field(number: u64, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let mut out = varint(number << 3 | 2);
    out.extend(varint(bytes.len() as u64));
    out.extend(bytes);
    out
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn number(at: u64, value: u64) -> Vec<u8> {
    [varint(at << 3), varint(value)].concat()
}

#[test]
fn headers_that_lie_are_suspicious_and_cut_ones_errors() {
    let file = |header: &str, data: usize| {
        let mut out = (header.len() as u64).to_le_bytes().to_vec();
        out.extend(header.as_bytes());
        out.extend(vec![0; data]);
        out
    };
    let good = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    assert_eq!(verdict("m.safetensors", file(good, 8)), Verdict::Safe);
    for (header, data) in [
        (good, 9),
        (good, 4),
        (r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#, 12),
        (r#"{"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}}"#, 8),
        (
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
            8,
        ),
    ] {
        assert!(verdict("m.safetensors", file(header, data)) >= Verdict::Suspicious, "{header}");
    }
    assert!(
        verdict("m.gguf", *b"GGUF\x03\0\0\0\xff\xff\xff\xff\xff\xff\xff\x7f\0\0\0\0\0\0\0\0") >= Verdict::Suspicious
    );
    assert!(verdict("m.gguf", *b"GGUF\x63\0\0\0") >= Verdict::Suspicious);
}

#[test]
fn arrays_of_objects_are_pickles() {
    let npy = |descr: &str, data: &[u8]| {
        let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': (1,), }}");
        while (10 + header.len() + 1) % 64 != 0 {
            header.push(' ');
        }
        header.push('\n');
        let mut out = b"\x93NUMPY\x01\0".to_vec();
        out.extend((header.len() as u16).to_le_bytes());
        out.extend(header.as_bytes());
        out.extend(data);
        out
    };
    assert_eq!(verdict("a.npy", npy("<f4", &[0; 4])), Verdict::Safe);
    assert_eq!(verdict("a.npy", npy("|O", &calls("os", "system"))), Verdict::Unsafe);
    assert_eq!(verdict("a.npy", npy("O", b"\x80\x02]K\x01a.")), Verdict::Safe);
    assert_eq!(verdict("a.npy", npy("<f4", &[0; 40])), Verdict::Suspicious);
    // `np.load` unpickles what is no array.
    assert_eq!(verdict("a.npy", calls("os", "system")), Verdict::Unsafe);
}

#[test]
fn graphs_are_judged_node_by_node() {
    let node = |operator: &str, more: &[u8]| [field(1, "n"), field(2, operator), more.to_vec()].concat();
    let saved = |in_graph: &str, in_function: &str, more: &[u8]| {
        let function = [field(3, node(in_function, more))].concat();
        let graph = [field(1, node(in_graph, more)), field(2, field(1, function))].concat();
        [number(1, 1), field(2, [field(1, field(4, "serve")), field(2, graph)].concat())].concat()
    };
    for (graph, function, expected) in [
        ("MatMul", "RestoreV2", Verdict::Safe),
        ("SaveV2", "MergeV2Checkpoints", Verdict::Safe),
        ("ReadFile", "MatMul", Verdict::Unsafe),
        ("MatMul", "WriteFile", Verdict::Unsafe),
        ("PyFunc", "MatMul", Verdict::Unsafe),
        ("MatMul", "OperatorOfAPlugin", Verdict::Caution),
        ("PrintV2", "MatMul", Verdict::Safe),
    ] {
        let scan = scanned("saved_model.pb", saved(graph, function, b""));
        assert_eq!(scan.verdict, expected, "{graph} {function}: {:#?}", scan.findings);
    }
    let to_file = field(5, [field(1, "output_stream"), field(2, field(2, "file:///tmp/x"))].concat());
    assert_eq!(verdict("saved_model.pb", saved("PrintV2", "MatMul", &to_file)), Verdict::Unsafe);
    let frozen = field(1, node("ReadFile", b""));
    assert_eq!(verdict("frozen.pb", frozen), Verdict::Unsafe);
    let lambda = field(1, field(5, r#"{"class_name": "Lambda", "config": {}}"#));
    assert_eq!(verdict("keras_metadata.pb", lambda), Verdict::Unsafe);
}

#[test]
fn onnx_reads_nothing_outside_its_folder() {
    let entry = |key: &str, value: &str| field(13, [field(1, key), field(2, value)].concat());
    let tensor = |location: &str| [number(2, 1), field(8, "w"), entry("location", location), number(14, 1)].concat();
    let model = |graph: &[u8], more: &[u8]| {
        [number(1, 8), field(2, "test"), field(7, graph), field(8, number(2, 18)), more.to_vec()].concat()
    };
    for (location, expected) in [
        ("weights.bin", Verdict::Safe),
        ("./a/weights.bin", Verdict::Safe),
        ("../weights.bin", Verdict::Unsafe),
        ("a/../../b", Verdict::Unsafe),
        ("/etc/passwd", Verdict::Unsafe),
        ("c:\\x", Verdict::Unsafe),
    ] {
        assert_eq!(verdict("m.onnx", model(&field(5, tensor(location)), b"")), expected, "{location}");
        // In the graph of a branch, and in a function.
        let branch = field(1, [field(4, "If"), field(5, field(6, field(5, tensor(location))))].concat());
        assert_eq!(verdict("m.onnx", model(&branch, b"")), expected, "{location} in a branch");
        let function = field(
            25,
            [field(1, "f"), field(7, [field(4, "Constant"), field(5, field(5, tensor(location)))].concat())].concat(),
        );
        assert_eq!(verdict("m.onnx", model(b"", &function)), expected, "{location} in a function");
    }
    let node = |domain: &str, operator: &str| field(1, [field(4, operator), field(7, domain)].concat());
    assert_eq!(verdict("m.onnx", model(&node("", "MatMul"), b"")), Verdict::Safe);
    assert_eq!(verdict("m.onnx", model(&node("com.microsoft", "Attention"), b"")), Verdict::Safe);
    assert_eq!(verdict("m.onnx", model(&node("mine", "Run"), b"")), Verdict::Caution);
    assert_eq!(verdict("m.onnx", model(&node("ai.onnx.contrib", "PyOp"), b"")), Verdict::Suspicious);
    let own = field(25, [field(1, "Run"), field(10, "mine")].concat());
    assert_eq!(verdict("m.onnx", model(&node("mine", "Run"), &own)), Verdict::Safe);
    // Beyond the end of a file that is there.
    let long = [
        number(2, 1),
        field(8, "w"),
        entry("location", "w.bin"),
        entry("offset", "4"),
        entry("length", "8"),
        number(14, 1),
    ]
    .concat();
    let folder = MemoryFolder::new(vec![
        Section::of_bytes("m.onnx", model(&field(5, long), b"")),
        Section::of_bytes("w.bin", [0; 8]),
    ]);
    assert_eq!(scan_file(&folder, "m.onnx", &Options::default()).verdict, Verdict::Suspicious);
}
