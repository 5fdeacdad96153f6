//! Numbers that are none, shapes that lie, sides without weights.

use weighthouse_format::Section;
use weighthouse_format::source::MemoryFolder;

use super::material::*;
use super::*;

#[test]
fn numbers_that_are_not_finite_are_counted_and_poison_nothing() {
    let (mut a, mut b) = (Model::new(1), Model::new(1));
    b.train("layers.", 3, 1e-3);
    a.each("attn.q", |values| values[5] = f32::NAN);
    b.each("attn.q", |values| (values[5], values[6], values[7]) = (f32::NAN, f32::INFINITY, f32::MAX));
    let found = compared(&a, &b);
    assert_eq!(found.verdict.kind, Kind::FineTune, "{}", found.verdict.sentence);
    let query = found.tensors.iter().find(|tensor| tensor.name().contains("attn.q")).unwrap();
    let numbers = query.numbers.unwrap();
    assert_eq!(numbers.not_finite, 2);
    let json = serde_json::to_string(&Document { comparison: &found, a: "", b: "", with: None, wire_bytes: None });
    assert!(!json.unwrap().contains("null,\"relative\""));
    let found = compared_with(&a, &b, &a);
    assert_eq!(found.verdict.kind, Kind::FineTune, "{}", found.verdict.sentence);
    // The same in both, bit for bit.
    assert!(compared(&a, &a).verdict.equal);
}

#[test]
fn sides_without_weights_are_no_comparison() {
    let empty = MemoryFolder::new(vec![Section::of_bytes("notes.txt", b"hello".as_slice())]);
    let found = compared_folders(&empty, &Model::new(1).folder());
    assert_eq!((found.verdict.kind, found.verdict.equal), (Kind::Incomparable, false));
    assert_eq!(found.verdict.sentence, "the first side has no weights");
    let found = compared_folders(&empty, &empty);
    assert!(!found.verdict.equal);
}

#[test]
fn empty_and_scalar_tensors_are_compared_too() {
    let (mut a, mut b) = (Model::new(1), Model::new(1));
    for model in [&mut a, &mut b] {
        model.weights.push(("nothing".to_owned(), vec![0, 7], Vec::new()));
        model.weights.push(("one".to_owned(), Vec::new(), vec![3.0]));
    }
    assert!(compared(&a, &b).verdict.equal);
    b.weights.last_mut().unwrap().2[0] = 4.0;
    assert!(!compared(&a, &b).verdict.equal);
}

#[test]
fn a_tensor_that_cannot_be_read_does_not_hide_the_others() {
    let a = Model::new(1);
    // NumPy's header promises what the file does not have.
    let npy = |shape: &str, data: &[u8]| {
        let head = format!("{{'descr': '<f4', 'fortran_order': True, 'shape': {shape}, }}");
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend((head.len() as u16).to_le_bytes());
        file.extend(head.as_bytes());
        file.extend(data);
        file
    };
    let bytes: Vec<u8> = noise(1, 12, 1.0).iter().flat_map(|value| value.to_le_bytes()).collect();
    let good = MemoryFolder::new(vec![Section::of_bytes("a.npy", npy("(3, 4)", &bytes))]);
    let found = compared_folders(&good, &good);
    assert!(found.verdict.equal, "{}", found.verdict.sentence);
    let found = compared_folders(&a.folder(), &good);
    assert_eq!(found.verdict.kind, Kind::Unrelated, "{}", found.verdict.sentence);
}

#[test]
fn many_tensors_of_one_shape_are_matched_in_little_time() {
    let weights = |seed: u64| -> Vec<Weight> {
        (0..300).map(|number| (format!("{seed}.{number}"), vec![8, 8], noise(number + 1, 64, 1.0))).collect()
    };
    let (mut a, mut b) = (Model::new(1), Model::new(1));
    (a.weights, b.weights) = (weights(7), weights(8));
    b.weights.reverse();
    b.rename(|name| format!("z{name}"));
    let began = std::time::Instant::now();
    let found = compared(&a, &b);
    assert!(found.verdict.equal && found.totals.renamed == 300, "{}", found.verdict.sentence);
    assert!(began.elapsed().as_secs() < 20);
}
