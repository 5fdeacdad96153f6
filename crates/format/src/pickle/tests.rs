use proptest::prelude::*;

use super::*;

fn read_bytes(bytes: &[u8]) -> Pickle {
    read(&Section::of_bytes("p", bytes), 0, &Limits::default())
}

/// A short spelling of the value, for comparison.
fn spell(pickle: &Pickle) -> String {
    fn go(graph: &Graph, id: NodeId, depth: u32, out: &mut String) {
        let list = |items: &[NodeId], open: &str, close: &str, out: &mut String| {
            out.push_str(open);
            for (index, &item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                go(graph, item, depth + 1, out);
            }
            out.push_str(close);
        };
        if depth > 20 {
            return out.push('…');
        }
        match graph.node(id) {
            Node::None => out.push_str("None"),
            Node::Bool(value) => out.push_str(if value { "True" } else { "False" }),
            Node::Int(value) => out.push_str(&value.to_string()),
            Node::Float(value) => out.push_str(&format!("{value:?}")),
            Node::Near(..) | Node::Far(..) => match graph.data(id) {
                Some((kind, Data::Near(bytes))) => out.push_str(&format!("{kind:?}:{}", bytes.escape_ascii())),
                Some((kind, Data::Far { begin, len, .. })) => out.push_str(&format!("{kind:?}@{begin}+{len}")),
                None => out.push('?'),
            },
            Node::List(seq) => list(graph.seq(seq), "[", "]", out),
            Node::Tuple(seq) => list(graph.seq(seq), "(", ")", out),
            Node::Dict(seq) => list(graph.seq(seq), "{", "}", out),
            Node::Set(seq) => list(graph.seq(seq), "s{", "}", out),
            Node::FrozenSet(seq) => list(graph.seq(seq), "f{", "}", out),
            Node::Global(_) => out.push_str(&graph.global(id).unwrap().path()),
            Node::Object(_) => {
                let object = *graph.object(id).unwrap();
                out.push_str(&format!("{:?}<", object.way));
                go(graph, object.callee, depth + 1, out);
                go(graph, object.args, depth + 1, out);
                for part in object.kwargs.iter().chain(&object.state) {
                    out.push('|');
                    go(graph, *part, depth + 1, out);
                }
                list(graph.seq(object.items), "[", "]", out);
                list(graph.seq(object.pairs), "{", "}>", out);
            }
            Node::Persistent(inner) => {
                out.push_str("pid:");
                go(graph, inner, depth + 1, out);
            }
            Node::Extension(code) => out.push_str(&format!("ext{code}")),
        }
    }
    let mut out = String::new();
    match pickle.root {
        Some(root) => go(&pickle.graph, root, 0, &mut out),
        None => out = format!("{}", pickle.trace.error.as_ref().unwrap()),
    }
    out
}

fn gives(bytes: &[u8], expected: &str) {
    assert_eq!(spell(&read_bytes(bytes)), expected, "{}", bytes.escape_ascii());
}

fn fails(bytes: &[u8]) {
    let pickle = read_bytes(bytes);
    assert!(pickle.root.is_none() && pickle.trace.error.is_some(), "{} gave {}", bytes.escape_ascii(), spell(&pickle));
}

#[test]
fn there_are_68_opcodes() {
    let mut all = ops::ALL.to_vec();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 68);
    assert!((0..=255u8).filter(|&op| ops::name(op).is_some()).count() == 68);
}

#[test]
fn numbers_of_every_protocol_are_read() {
    gives(b"I42\n.", "42");
    gives(b"I-7\n.", "-7");
    gives(b"I0x1f\n.", "31");
    gives(b"I00\n.", "False");
    gives(b"I01\n.", "True");
    gives(b"I001\n.", "1");
    gives(b"L12345678901234567890L\n.", r"Integer:\xd2\n\x1f\xeb\x8c\xa9T\xab\x00");
    gives(b"L-5L\n.", "-5");
    gives(b"L5\n.", "5");
    gives(b"F1.5\n.", "1.5");
    gives(b"Fnan\n.", "NaN");
    gives(b"J\xff\xff\xff\xff.", "-1");
    gives(b"K\xff.", "255");
    gives(b"M\x00\x01.", "256");
    gives(b"G\x3f\xf8\0\0\0\0\0\0.", "1.5");
    gives(b"\x8a\x00.", "0");
    gives(b"\x8a\x01\xff.", "-1");
    gives(b"\x8a\x02\xff\x00.", "255");
    gives(b"\x8a\x09\0\0\0\0\0\0\0\x80\0.", r"Integer:\x00\x00\x00\x00\x00\x00\x00\x80\x00");
    gives(b"\x8b\x02\0\0\0\x00\x80.", "-32768");
    gives(b"\x88\x89N\x87.", "(True False None)");
    for wrong in [&b"Iabc\n."[..], b"F1,5\n.", b"I\n.", b"L\n.", b"\x8b\xff\xff\xff\xff.", b"I1__2\n."] {
        fails(wrong);
    }
}

#[test]
fn text_of_every_protocol_is_read() {
    gives(b"S'a\\n\\x41\\101\\q'\n.", r"OldStr:a\nAA\\q");
    gives(b"S\"it's\"\n.", r"OldStr:it\'s");
    gives(b"Va\\u00e9\xe9\\U0001f600\n.", r"Str:a\xc3\xa9\xc3\xa9\xf0\x9f\x98\x80");
    gives(b"V\\ud800\n.", r"Str:\xed\xa0\x80");
    gives(b"U\x02\xff\xfe.", r"OldStr:\xff\xfe");
    gives(b"T\x01\0\0\0a.", "OldStr:a");
    gives(b"X\x02\0\0\0\xc3\xa9.", r"Str:\xc3\xa9");
    gives(b"\x8c\x01a.", "Str:a");
    gives(b"\x8d\x01\0\0\0\0\0\0\0a.", "Str:a");
    gives(b"B\x01\0\0\0\xff.", r"Bytes:\xff");
    gives(b"C\x01\xff.", r"Bytes:\xff");
    gives(b"\x8e\x01\0\0\0\0\0\0\0\xff.", r"Bytes:\xff");
    gives(b"\x96\x01\0\0\0\0\0\0\0\xff.", r"ByteArray:\xff");
    for wrong in [
        &b"Sabc\n."[..],
        b"S'abc\"\n.",
        b"S'\\x4'\n.",
        b"V\\u12\n.",
        b"V\\U00110000\n.",
        b"X\x02\0\0\0\xff\xff.",
        b"T\xff\xff\xff\xff.",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff.",
    ] {
        fails(wrong);
    }
}

#[test]
fn long_text_stays_in_the_input() {
    let mut bytes = b"B\x00\x08\0\0".to_vec();
    bytes.extend(vec![7; 2048]);
    bytes.extend(b".");
    gives(&bytes, "Bytes@5+2048");
    let mut line = b"S'".to_vec();
    line.extend(vec![b'x'; 3_000_000]);
    line.extend(b"'\n.");
    gives(&line, "OldStr@2+3000000");
    let section = Section::of_bytes("p", line);
    let pickle = read(&section, 0, &Limits::default());
    let text = pickle.graph.text(pickle.root.unwrap(), &section, &Limits::default()).unwrap().unwrap();
    assert_eq!(text.len(), 3_000_000);
}

#[test]
fn containers_are_gathered_and_extended() {
    gives(b"(lp0\nI1\naI2\na.", "[1 2]");
    gives(b"](K\x01K\x02e.", "[1 2]");
    gives(b"(K\x01K\x02l.", "[1 2]");
    gives(b"(K\x01K\x02t.", "(1 2)");
    gives(b"(K\x01K\x02d.", "{1 2}");
    gives(b"}K\x01K\x02s(K\x03K\x04u.", "{1 2 3 4}");
    gives(b"\x8f(K\x01\x90.", "s{1}");
    gives(b"(K\x01\x91.", "f{1}");
    gives(b")K\x01\x85K\x01K\x02\x86\x87.", "(() (1) (1 2))");
}

#[test]
fn the_memo_is_that_of_cpython() {
    gives(b"K\x01q\x000h\x00.", "1");
    gives(b"K\x01r\x00\x00\x01\x000j\x00\x00\x01\x00.", "1");
    gives(b"I7\np99999999\n0g99999999\n.", "7");
    gives(b"K\x05\x940K\x06\x940h\x01h\x00\x86.", "(6 5)");
    // `MEMOIZE` counts the places in use, not the highest.
    gives(b"K\x05q\x09\x94h\x01\x86.", "(5 5)");
    gives(b"]q\x00h\x00a.", "[[[[[[[[[[[[[[[[[[[[[…]]]]]]]]]]]]]]]]]]]]]");
    fails(b"h\x00.");
    fails(b"q\x00.");
    let twice = read_bytes(b"K\x01q\x00K\x02q\x00.");
    assert!(twice.trace.oddities.iter().any(|(oddity, _)| *oddity == Oddity::MemoOverwritten));
}

#[test]
fn marks_are_fences() {
    gives(b"K\x01(0.", "1");
    gives(b"K\x01(K\x02K\x031.", "1");
    gives(b"K\x012K\x02\x87.", "(1 1 2)");
    for wrong in
        [&b"K\x01(\x85."[..], b"K\x01(.", b"K\x01(2.", b"0.", b"1.", b"t.", b"(K\x01d.", b"}(K\x01u.", b"K\x01(q\x00."]
    {
        fails(wrong);
    }
}

#[test]
fn calls_and_classes_are_kept_and_never_made() {
    gives(b"cos\nsystem\n(S'id'\ntR.", "Reduce<os.system(OldStr:id)[]{}>");
    gives(b"(S'id'\nios\nsystem\n.", "Instance<os.system(OldStr:id)[]{}>");
    gives(b"(cos\nsystem\nS'id'\no.", "Instance<os.system(OldStr:id)[]{}>");
    gives(b"cm\nC\n)\x81}K\x01K\x02sb.", "New<m.C()|{1 2}[]{}>");
    gives(b"cm\nC\n)}\x92.", "New<m.C()|{}[]{}>");
    gives(b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.", "Reduce<os.system(Str:id)[]{}>");
    gives(b"Pabc\n.", "pid:Str:abc");
    gives(b"K\x01Q.", "pid:1");
    gives(b"\x82\x05.", "ext5");
    gives(b"\x83\x05\x01.", "ext261");
    gives(b"\x84\x05\x00\x01\x00.", "ext65541");
    gives(b"ccollections\nOrderedDict\n)RK\x01K\x02s.", "Reduce<collections.OrderedDict()[]{1 2}>");
    gives(b"ccollections\ndeque\n)RK\x01a.", "Reduce<collections.deque()[1]{}>");
    fails(b"\x97.");
    fails(b"\x8c\x01aK\x01\x93.");
    fails(b"K\x01K\x02a.");
}

#[test]
fn names_of_python_2_are_what_python_3_looks_up() {
    let global = |bytes: &[u8]| read_bytes(bytes).graph.globals()[0].clone();
    let old = global(b"c__builtin__\neval\n.");
    assert_eq!(
        (old.path().as_str(), old.written.as_deref().map(|(module, _)| module.as_str())),
        ("builtins.eval", Some("__builtin__"))
    );
    assert_eq!(global(b"\x80\x02ccommands\ngetoutput\n.").path(), "subprocess.getoutput");
    assert_eq!(global(b"citertools\nimap\n.").path(), "builtins.map");
    assert_eq!(global(b"cexceptions\nValueError\n.").path(), "builtins.ValueError");
    // From protocol 3 on, nothing is renamed.
    assert_eq!(global(b"\x80\x03ccommands\ngetoutput\n.").path(), "commands.getoutput");
}

#[test]
fn what_stands_before_an_error_is_kept() {
    let pickle = read_bytes(b"cos\nsystem\n(S'id'\ntR\xff");
    assert!(matches!(pickle.trace.error, Some(FormatError::Broken { at: 20, .. })));
    let global = &pickle.graph.globals()[0];
    assert_eq!((global.imported.count, global.called.first), (1, Some(Place { op: 4, at: 19 })));
    assert_eq!(pickle.graph.objects().len(), 1);
}

#[test]
fn uses_of_a_name_are_told_apart() {
    let pickle = read_bytes(b"cm\nC\nq\x00)\x81}bh\x00}bh\x00)R)R.");
    let global = &pickle.graph.globals()[0];
    assert_eq!((global.called.count, global.built.count, global.altered.count), (2, 1, 1));
    assert!(pickle.trace.oddities.iter().any(|(oddity, _)| *oddity == Oddity::IndirectCall));
}

#[test]
fn frames_are_hints_and_crossing_one_is_noted() {
    gives(b"\x80\x04\x95\x03\0\0\0\0\0\0\0K\x01.", "1");
    let crossed = read_bytes(b"\x80\x04\x95\x01\0\0\0\0\0\0\0K\x01.");
    assert_eq!(crossed.trace.oddities.first().unwrap().0, Oddity::FrameCrossed);
    fails(b"\x80\x04\x95\xff\0\0\0\0\0\0\0K\x01.");
    fails(b"\x80\x06K\x01.");
}

#[test]
fn pickles_after_the_first_are_read_and_the_rest_is_told() {
    let section = Section::of_bytes("p", b"K\x01.K\x02.rest".to_vec());
    let (pickles, end) = read_all(&section, &Limits::default(), 10);
    assert_eq!((pickles.len(), end), (2, 6));
}

#[test]
fn raw_arrays_of_joblib_are_stepped_over() {
    let mut bytes =
        b"\x80\x04cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}(\x8c\x05shapeK\x02\x85\x8c\x05dtype".to_vec();
    bytes.extend(b"cnumpy\ndtype\n\x8c\x02f8\x89\x88\x87R\x8c\x1bnumpy_array_alignment_bytesK\x10ub");
    bytes.extend(b"\x03\xff\xff\xff");
    let begin = bytes.len() as u64;
    bytes.extend([0; 16]);
    bytes.extend(b".");
    let pickle = read_bytes(&bytes);
    assert_eq!(pickle.graph.raw(pickle.root.unwrap()), Some((begin, 16)));
}

#[test]
fn a_frame_ends_before_an_array_of_objects_of_joblib() {
    let mut body = b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81}(\x8c\x05shapeK\x02\x85\x8c\x05dtype".to_vec();
    body.extend(b"cnumpy\ndtype\n\x8c\x02O8\x89\x88\x87Rub");
    let mut bytes = b"\x80\x04\x95".to_vec();
    bytes.extend((body.len() as u64).to_le_bytes());
    bytes.extend(body);
    bytes.extend(b"\x80\x02]K\x01a..");
    let pickle = read_bytes(&bytes);
    assert!(pickle.root.is_some() && pickle.trace.inner.len() == 1);
    assert!(pickle.trace.oddities.is_empty(), "{:?}", pickle.trace.oddities);
}

#[test]
fn bombs_end_and_stay_small() {
    // Sharing: 2^60 leaves in sixty tuples.
    let mut shared = b"K\x01".to_vec();
    shared.extend(b"2\x86".repeat(60));
    shared.push(b'.');
    let pickle = read_bytes(&shared);
    assert!(pickle.graph.len() < 100);
    assert_eq!(pickle.graph.walk(pickle.root.unwrap()).count(), 61);
    // Nesting: a million lists in one another.
    let mut nested = b"]".repeat(1_000_000);
    nested.extend(b"a".repeat(999_999));
    nested.push(b'.');
    let pickle = read_bytes(&nested);
    assert_eq!(pickle.graph.walk(pickle.root.unwrap()).count(), 1_000_000);
    // Memo: far places cost an entry each, not an array.
    let far = b"K\x01r\xff\xff\xff\xff.";
    assert!(read_bytes(far).root.is_some());
    // Opcodes are counted.
    let limits = Limits { pickle_ops: 100, ..Limits::default() };
    let many = read(&Section::of_bytes("p", b"N0".repeat(100)), 0, &limits);
    assert!(matches!(many.trace.error, Some(FormatError::TooLarge { size: 101, .. })));
}

#[test]
fn interleaved_lists_grow_in_place() {
    let mut bytes = b"]q\x00]q\x01".to_vec();
    for index in 0..200u8 {
        bytes.extend([b'h', 0, b'K', index, b'a', b'0', b'h', 1, b'K', index, b'a', b'0']);
    }
    bytes.extend(b"\x86.");
    let pickle = read_bytes(&bytes);
    let lists = pickle.graph.items(pickle.root.unwrap());
    for &list in lists {
        let values: Vec<_> = pickle.graph.items(list).iter().map(|&item| pickle.graph.int(item).unwrap()).collect();
        assert_eq!(values, (0..200).collect::<Vec<_>>());
    }
}

/// Pieces from which proptest builds programs that often run far.
const PIECES: &[&[u8]] = &[
    b"(",
    b".",
    b"0",
    b"1",
    b"2",
    b"K\x01",
    b"N",
    b"R",
    b"Q",
    b"a",
    b"b",
    b"cos\nsystem\n",
    b"d",
    b"}",
    b"e",
    b"h\x00",
    b"h\x01",
    b"l",
    b"]",
    b"o",
    b"q\x00",
    b"q\x01",
    b"s",
    b"t",
    b")",
    b"u",
    b"\x81",
    b"\x85",
    b"\x86",
    b"\x87",
    b"\x8f",
    b"\x90",
    b"\x91",
    b"\x92",
    b"\x93",
    b"\x94",
    b"\x8c\x01a",
    b"C\x01a",
    b"im\nC\n",
    b"\x82\x01",
    b"\x98",
    b"\x80\x04",
];

proptest! {
    #[test]
    fn any_bytes_end_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let pickle = read_bytes(&bytes);
        prop_assert!(pickle.root.is_some() != pickle.trace.error.is_some());
        prop_assert!(pickle.graph.len() <= 8 + 2 * bytes.len());
    }

    #[test]
    fn any_program_ends_without_a_panic(program in proptest::collection::vec(0..PIECES.len(), 0..200)) {
        let bytes: Vec<u8> = program.iter().flat_map(|&piece| PIECES[piece]).copied().collect();
        let pickle = read_bytes(&bytes);
        if let Some(root) = pickle.root {
            prop_assert!(pickle.graph.walk(root).count() <= pickle.graph.len());
        }
        prop_assert!(pickle.graph.len() <= 8 + 2 * bytes.len());
    }
}

#[test]
fn state_that_is_set_twice_and_names_that_are_computed_are_odd() {
    // `datetime.date` is made, and its state set to `{}` twice.
    let twice = read_bytes(b"cdatetime\ndate\n)\x81}b}b.");
    assert!(twice.trace.error.is_none());
    assert!(twice.trace.oddities.iter().any(|(oddity, uses)| *oddity == Oddity::StateReplaced && uses.count == 1));
    let computed = read_bytes(b"\x80\x04\x8c\x02os)\x93.");
    assert!(computed.trace.oddities.iter().any(|(oddity, _)| *oddity == Oddity::ComputedName));
    assert!(computed.trace.error.is_some());
}
