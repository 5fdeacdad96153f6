use proptest::prelude::*;

use super::literal::Literal;
use super::{read_npy, read_npz};
use crate::contents::{CodeWay, Contents, WarningKind};
use crate::data::Elements;
use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::limits::Limits;
use crate::source::{MemoryFolder, Section};

/// An npy file of version 1.0, 2.0 or 3.0.
fn npy(major: u8, header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = [b"\x93NUMPY", &[major, 0][..]].concat();
    let text = if major == 3 { header.as_bytes().to_vec() } else { header.chars().map(|sign| sign as u8).collect() };
    match major {
        1 => bytes.extend((text.len() as u16).to_le_bytes()),
        _ => bytes.extend((text.len() as u32).to_le_bytes()),
    }
    bytes.extend(text);
    bytes.extend(data);
    bytes
}

fn read(bytes: Vec<u8>) -> Result<Contents, FormatError> {
    read_npy(&Section::of_bytes("x/w.npy", bytes), &Limits::default())
}

fn of(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Result<Contents, FormatError> {
    let fortran = if fortran { "True" } else { "False" };
    read(npy(1, &format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n"), data))
}

/// Names, types, shapes and elements.
fn elements(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<(String, Dtype, Vec<u64>, Vec<u8>)> {
    let fortran = if fortran { "True" } else { "False" };
    let header = format!("{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}");
    let section = Section::of_bytes("w.npy", npy(3, &header, data));
    let folder = MemoryFolder::new(vec![section.clone()]);
    let limits = Limits::default();
    let contents = read_npy(&section, &limits).unwrap();
    let read = |tensor: &crate::Tensor| Elements::new(&folder, tensor, &limits).unwrap().read_all().unwrap();
    contents
        .tensors
        .iter()
        .map(|tensor| (tensor.name.clone(), tensor.dtype, tensor.shape.clone(), read(tensor)))
        .collect()
}

#[test]
fn all_versions_are_read() {
    for major in 1..=3 {
        let contents =
            read(npy(major, "{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3), }   \n", &[0; 24])).unwrap();
        let [tensor] = &contents.tensors[..] else { panic!("{contents:?}") };
        assert_eq!((tensor.name.as_str(), tensor.dtype, &tensor.shape[..]), ("w", Dtype::F32, &[2, 3][..]));
        assert_eq!(contents.warnings, []);
    }
    let scalar = of("'<i8'", false, "()", &[7; 8]).unwrap();
    assert!(scalar.tensors[0].shape.is_empty());
    assert_eq!(of("'|b1'", false, "(0, 5)", &[]).unwrap().tensors[0].shape, [0, 5]);
}

#[test]
fn orders_and_byte_orders_give_the_same_elements() {
    let plain = elements("'<i2'", false, "(2, 3)", &[0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0]);
    assert_eq!(plain, elements("'<i2'", true, "(2, 3)", &[0, 0, 3, 0, 1, 0, 4, 0, 2, 0, 5, 0]));
    assert_eq!(plain, elements("'>i2'", false, "(2, 3)", &[0, 0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5]));
    assert_eq!(plain, elements("'>i2'", true, "(2, 3)", &[0, 0, 0, 3, 0, 1, 0, 4, 0, 2, 0, 5]));
    let complex = elements("'>c8'", false, "(1,)", &[1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(complex[0].3, [4, 3, 2, 1, 8, 7, 6, 5]);
}

#[test]
fn fields_are_tensors_whatever_their_offset() {
    let record = [1, 0, 10, 20, 0, 30, 40, 99, 50];
    let data = [record, record.map(|byte| byte + 1)].concat();
    let descr = "[('a', '<i2'), ('b', [('c', '|u1'), ('d', '>i2')]), ('e', '|i1', (2, 1)), ('', '|V1'), ('f', '|S1')]";
    // The last is text, and has no elements to read.
    let contents = of(descr, false, "(2,)", &data).unwrap();
    let names: Vec<_> = contents.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["w.a", "w.b.c", "w.b.d", "w.e", "w.f"]);
    assert_eq!(contents.tensors[4].dtype, Dtype::Text);
    let found = elements(&descr.replace("|S1", "|u1"), false, "(2,)", &data);
    assert_eq!(found[0].3, [1, 0, 2, 1]);
    assert_eq!(found[1].3, [10, 11]);
    assert_eq!(found[2].3, [0, 20, 1, 21]);
    assert_eq!((&found[3].2[..], &found[3].3[..]), (&[2, 2, 1][..], &[30, 40, 31, 41][..]));
    assert_eq!(found[4].3, [50, 51]);
    // In Fortran's order the records move, the elements of a field stay together.
    let pairs = [1u8, 2, 5, 6, 3, 4, 7, 8];
    assert_eq!(elements("[('a', '|u1', 2)]", true, "(2, 2)", &pairs)[0].3, [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn what_is_no_number_is_shown_and_said() {
    let objects = of("'|O'", false, "(1000000,)", b"\x80\x04").unwrap();
    assert_eq!(objects.tensors, []);
    assert_eq!((objects.code[0].file.as_str(), objects.code[0].way), ("x/w.npy", CodeWay::PickleCall));
    assert_eq!(objects.warnings[0].kind, WarningKind::Unreadable);
    assert_eq!(of("'<V2'", false, "(1,)", &[0; 2]).unwrap().tensors[0].dtype, Dtype::BF16);
    let raw = of("'|V3'", false, "(2,)", &[0; 6]).unwrap();
    assert_eq!((raw.tensors[0].dtype, &raw.tensors[0].shape[..]), (Dtype::U8, &[2, 3][..]));
    assert_eq!(raw.warnings[0].kind, WarningKind::Other);
    assert_eq!(of("'<U3'", false, "(2,)", &[0; 24]).unwrap().tensors[0].dtype, Dtype::Text);
    assert_eq!(of("'<M8[ns]'", false, "(2,)", &[0; 16]).unwrap().tensors[0].dtype, Dtype::I64);
    assert_eq!(of("'|u1'", false, "(1,)", &[0; 3]).unwrap().warnings[0].message, "2 bytes follow the array");
}

#[test]
fn hostile_files_give_their_own_error() {
    let error = |descr: &str, shape: &str| of(descr, false, shape, &[0; 8]).unwrap_err().to_string();
    assert_eq!(error("'<f4'", "(3,)"), "npy elements needs 12 bytes; only 8 are there");
    assert_eq!(error("'<f4'", "(4611686018427387904,)"), "the size of tensor `w` overflows");
    assert_eq!(error("'<f4'", "(4294967296, 4294967296)"), "the size of tensor `w` overflows");
    assert_eq!(error("'<f4'", "(-1,)"), "npy header at byte 0: `-1` is no extent");
    assert_eq!(error("'<f4'", "(1.5,)"), "npy header at byte 51: `1.5` is no literal");
    assert_eq!(error("'<f4'", "(True,)"), "npy header at byte 0: an extent is no number");
    assert_eq!(error("'<f4'", &format!("({})", "1,".repeat(65))), "rank of a tensor is 65; the limit is 64");
    assert_eq!(error("'<f3'", "(1,)"), "NumPy type is not supported: `<f3`");
    assert_eq!(error("'<fé'", "(1,)"), "NumPy type is not supported: `<fé`");
    assert_eq!(error("''", "(1,)"), "NumPy type is not supported: ``");
    assert_eq!(error("'<U99999999999999999999'", "(1,)"), "NumPy type is not supported: `<U99999999999999999999`");
    assert_eq!(error("[('a', '<i2'), ('a', '<i2')]", "(1,)"), "key `a` appears twice");
    assert_eq!(error("[('a',)]", "(1,)"), "npy header at byte 0: a field is no tuple of name, type and shape");
    assert_eq!(
        error("[('a', '<i8', (9223372036854775807, 9))]", "(1,)"),
        "npy header at byte 0: the size of an element overflows"
    );
    assert_eq!(error(&"(".repeat(100_000)[..], ""), "nesting of an npy header is 33; the limit is 32");
    assert_eq!(
        read(b"\x93NUMPX\x01\0\0\0".to_vec()).unwrap_err().to_string(),
        "this is no npy file: its magic bytes are missing"
    );
    assert_eq!(read(b"\x93NUM".to_vec()).unwrap_err().to_string(), "npy file needs 10 bytes; only 4 are there");
    assert_eq!(read(npy(4, "", &[])).unwrap_err().to_string(), "npy file has the unknown version 1024");
    assert_eq!(
        read([b"\x93NUMPY\x02\0", &u32::MAX.to_le_bytes()[..]].concat()).unwrap_err().to_string(),
        "npy header length in bytes is 4294967307; the limit is 100000000"
    );
    let header = |text: &str| read(npy(1, text, &[])).unwrap_err().to_string();
    assert_eq!(
        header("{'descr': '<f4'}"),
        "npy header at byte 0: it does not have exactly `descr`, `fortran_order` and `shape`"
    );
    assert_eq!(header("{'a': 1, 'a': 2}"), "key `a` appears twice");
    assert_eq!(header("{'a': __import__('os')}"), "npy header at byte 6: `__import__` is no literal");
    assert_eq!(header("{'a': 'b"), "npy header at byte 6: a text has no end");
    assert_eq!(header("{}}"), "npy header at byte 2: `}` follows the end");
}

#[test]
fn literals_are_read_as_python_reads_them() {
    let text = |text: &str| Literal::parse(text).unwrap();
    assert_eq!(text(r"'a\x41\u00e9\'\\'"), Literal::Text("aAé'\\".to_owned()));
    assert_eq!(text("( )"), Literal::Items(vec![]));
    assert_eq!(text("[1 , -2,None]"), Literal::Items(vec![Literal::Int(1), Literal::Int(-2), Literal::None]));
    for broken in ["", "(1", "(1 2)", "{1: 2}", "{'a' 1}", r"'\q'", r"'\ud800'", "1 1", "'", "99999999999999999999"] {
        assert!(Literal::parse(broken).is_err(), "{broken}");
    }
}

proptest! {
    #[test]
    fn any_header_ends_in_an_answer(text in r"[{}\[\]()',:0-9a-z<>|\\ \n]{0,80}", major in 1u8..4, data: Vec<u8>) {
        let _ = Literal::parse(&text);
        let _ = read(npy(major, &text, &data));
    }

    #[test]
    fn any_bytes_end_in_an_answer(bytes: Vec<u8>) {
        let _ = read([b"\x93NUMPY", &bytes[..]].concat());
    }

    #[test]
    fn any_change_to_a_good_file_ends_in_an_answer(changes in prop::collection::vec((0usize..150, any::<u8>()), 1..4)) {
        let header = "{'descr': [('a', '<i2'), ('b', [('c', '|u1'), ('d', '>f4', (2,))])], 'fortran_order': True, 'shape': (2, 2), }";
        let mut bytes = npy(1, header, &[1; 44]);
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        let section = Section::of_bytes("w.npy", bytes);
        let folder = MemoryFolder::new(vec![section.clone()]);
        let limits = Limits { decoded_bytes: 1 << 20, ..Limits::default() };
        for tensor in read_npy(&section, &limits).map(|contents| contents.tensors).unwrap_or_default() {
            let _ = Elements::new(&folder, &tensor, &limits).and_then(|mut elements| elements.read_all());
        }
    }
}

mod npz {
    use proptest::prelude::*;

    use super::{npy, read_npz};
    use crate::contents::{Contents, WarningKind};
    use crate::data::Elements;
    use crate::limits::Limits;
    use crate::source::{MemoryFolder, Section};
    use crate::zip::made::{Lies, Made};

    fn good() -> Vec<u8> {
        let header = |descr: &str| format!("{{'descr': {descr}, 'fortran_order': False, 'shape': (2,), }}\n");
        let deflate = Lies { deflate: true, ..Lies::default() };
        Made::default()
            .add("a.npy", &npy(1, &header("'<i2'"), &[1, 0, 2, 0]))
            .lie("b/c.npy", &npy(1, &header("'>i2'"), &[0, 1, 0, 2]), &deflate)
            .lie("d.npy", &npy(1, &header("[('x', '|u1'), ('y', '>i2')]"), &[7, 0, 1, 8, 0, 2]), &deflate)
            .lie("o.npy", &npy(1, &header("'|O'"), b"\x80\x04."), &deflate)
            .add("e.npy", &npy(1, &header("'<i3'"), &[0; 6]))
            .add("readme.txt", b"text")
            .finish()
    }

    fn read(bytes: &[u8]) -> Result<(Contents, Vec<Vec<u8>>), crate::FormatError> {
        let section = Section::of_bytes("w.npz", bytes);
        let limits = Limits::default();
        let contents = read_npz(&section, &limits)?;
        let folder = MemoryFolder::new(vec![section]);
        let read = |tensor| Elements::new(&folder, tensor, &limits).and_then(|mut elements| elements.read_all());
        let elements = contents.tensors.iter().map(read).collect::<Result<_, _>>()?;
        Ok((contents, elements))
    }

    #[test]
    fn stored_and_compressed_members_give_their_elements() {
        let (contents, elements) = read(&good()).unwrap();
        let names: Vec<_> = contents.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
        assert_eq!(names, ["a", "b/c", "d.x", "d.y"]);
        assert_eq!(elements, [vec![1, 0, 2, 0], vec![1, 0, 2, 0], vec![7, 8], vec![1, 0, 2, 0]]);
        let warned: Vec<_> = contents.warnings.iter().map(|warning| (warning.kind, warning.file.as_str())).collect();
        let expected = [
            (WarningKind::Unreadable, "w.npz!o.npy"),
            (WarningKind::Unreadable, "w.npz!e.npy"),
            (WarningKind::Extra, "w.npz!readme.txt"),
        ];
        assert_eq!(warned, expected);
        assert_eq!(contents.code[0].file, "w.npz!o.npy");
    }

    #[test]
    fn members_shorter_than_their_array_are_refused() {
        let short = npy(1, "{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }", &[0; 15]);
        let deflate = Lies { deflate: true, ..Lies::default() };
        for made in [Made::default().add("a.npy", &short), Made::default().lie("a.npy", &short, &deflate)] {
            let error = read(&made.finish()).unwrap_err().to_string();
            assert_eq!(error, "`w.npz!a.npy`: npy elements needs 16 bytes; only 15 are there");
        }
    }

    proptest! {
        #[test]
        fn any_change_to_a_good_file_ends_in_an_answer(changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..4)) {
            let mut bytes = good();
            for (at, byte) in changes {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            let _ = read(&bytes);
        }
    }
}
