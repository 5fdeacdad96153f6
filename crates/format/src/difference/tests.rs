use super::*;
use proptest::prelude::*;

fn bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn of(a: &[f32], b: &[f32]) -> Difference {
    Difference::of(Dtype::F32, &bytes(a), Dtype::F32, &bytes(b)).unwrap()
}

fn close(one: f64, other: f64) -> bool {
    (one - other).abs() <= 1e-5 * one.abs().max(other.abs()).max(1e-12)
}

proptest! {
    #[test]
    fn lanes_find_what_a_plain_loop_finds(
        values in prop::collection::vec((-1e3f32..1e3, -1e3f32..1e3), 1..3000), bad in 0usize..4, scale in 0usize..3
    ) {
        let scale = [1.0, 1e-18, 1e18][scale];
        let mut a: Vec<f32> = values.iter().map(|pair| pair.0 * scale).collect();
        let mut b: Vec<f32> = values.iter().map(|pair| if pair.1 < 0.0 { pair.0 * scale } else { pair.1 * scale }).collect();
        let at = a.len() / 2;
        (a[at], b[at]) = [(a[at], 0.0), (f32::NAN, f32::NAN), (f32::INFINITY, 1.0), (-0.0, 0.0)][bad];
        let found = of(&a, &b);
        let finite: Vec<(f64, f64)> = a.iter().zip(&b).map(|(&a, &b)| (f64::from(a), f64::from(b)))
            .filter(|(a, b)| a.is_finite() && b.is_finite()).collect();
        let sum = |of: &dyn Fn(&(f64, f64)) -> f64| finite.iter().map(of).sum::<f64>();
        prop_assert_eq!(found.elements, a.len() as u64);
        prop_assert_eq!(found.not_finite, (a.len() - finite.len()) as u64);
        let changed = a.iter().zip(&b).filter(|(a, b)| a.to_bits() != b.to_bits() && !(a.is_nan() && b.is_nan()));
        prop_assert_eq!(found.changed, changed.count() as u64);
        prop_assert_eq!(found.new_zeros, finite.iter().filter(|(a, b)| *b == 0.0 && *a != 0.0).count() as u64);
        prop_assert!(close(found.squares_a, sum(&|(a, _)| a * a)), "{found:?}");
        prop_assert!(close(found.squares_b, sum(&|(_, b)| b * b)), "{found:?}");
        prop_assert!(close(found.squares, sum(&|(a, b)| (b - a) * (b - a))), "{found:?}");
        prop_assert!(close(found.largest, finite.iter().map(|(a, b)| (b - a).abs()).fold(0.0, f64::max)));
        prop_assert!(close(squares(Dtype::F32, &bytes(&a)).unwrap(), a.iter().map(|&a| f64::from(a)).filter(|a| a.is_finite()).map(|a| a * a).sum()));
    }

    #[test]
    fn bytes_that_differ_are_counted(a in prop::collection::vec(0u8..4, 0..700), seed: u8) {
        let b: Vec<u8> = a.iter().enumerate().map(|(at, byte)| byte ^ u8::from((at as u8).wrapping_mul(seed) > 99)).collect();
        prop_assert_eq!(changed_bytes(&a, &b), a.iter().zip(&b).filter(|(a, b)| a != b).count() as u64);
    }
}

#[test]
fn a_cast_is_told_from_a_change() {
    let a: Vec<f32> = (0..2000).map(|n| ((n * 7919 % 2003) as f32 - 1000.0) * 1.3e-4).collect();
    let bf16: Vec<u8> = a
        .iter()
        .flat_map(|x| {
            let bits = x.to_bits();
            (((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16).to_le_bytes()
        })
        .collect();
    let found = Difference::of(Dtype::F32, &bytes(&a), Dtype::BF16, &bf16).unwrap();
    assert!(found.changed > 1000 && found.forth.has(Rounding::BF16) && !found.forth.has(Rounding::F16));
    assert!(!found.forth.has(Rounding::CutBF16) && found.back == Roundings::NONE);
    let back = Difference::of(Dtype::BF16, &bf16, Dtype::F32, &bytes(&a)).unwrap();
    assert!(back.back.has(Rounding::BF16) && back.forth == Roundings::NONE);
    let mut other = bf16.clone();
    other[2 * 1234] ^= 1;
    let found = Difference::of(Dtype::F32, &bytes(&a), Dtype::BF16, &other).unwrap();
    assert_eq!(found.forth, Roundings::NONE);
}

#[test]
fn every_short_float_is_its_own_rounding_and_the_nearest_one() {
    let shorts: Vec<f32> = (0..=u16::MAX).map(half).filter(|half| half.is_finite()).collect();
    let mut roundings = Roundings::ALL;
    roundings.check(&shorts, &shorts);
    assert!(roundings.has(Rounding::F16) && !roundings.has(Rounding::BF16));
    // A little more than a half of the way rounds up, a little less down.
    for pair in shorts.windows(2).filter(|pair| pair[0] >= 0.0 && pair[1] > pair[0]) {
        let middle = f64::midpoint(f64::from(pair[0]), f64::from(pair[1]));
        let (less, more) = ((middle * (1.0 - 1e-6)) as f32, (middle * (1.0 + 1e-6)) as f32);
        let mut found = Roundings::ALL;
        found.check(&[less, more, -less], &[pair[0], pair[1], -pair[0]]);
        assert!(found.has(Rounding::F16), "{pair:?}");
    }
    let mut found = Roundings::ALL;
    found.check(&[1e6, 70_000.0, 1e-9], &[448.0, f32::NAN, 0.0]);
    assert!(found.has(Rounding::F8E4M3) && !found.has(Rounding::BF16));
}

#[test]
fn mixtures_give_their_share() {
    let wave = |phase: f64| (0..5000).map(|n| ((f64::from(n) * 0.37 * phase).sin() * 0.02) as f32).collect::<Vec<_>>();
    let (a, c) = (wave(1.0), wave(1.7));
    let mix = |x: f32, y: f32| a.iter().zip(&c).map(|(a, c)| x * a + y * c).collect::<Vec<f32>>();
    let of = |b: Vec<f32>| {
        let mut sums = Mixture::default();
        sums.add(&Numbers::Single(a.clone()), &Numbers::Single(b), &Numbers::Single(c.clone()));
        sums
    };
    let (share, rest) = of(mix(0.7, 0.3)).linear().unwrap();
    assert!((share - 0.3).abs() < 1e-6 && rest < 1e-6, "{share} {rest}");
    let dot: f64 = a.iter().zip(&c).map(|(a, c)| f64::from(*a) * f64::from(*c)).sum();
    let norm = |x: &[f32]| x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let angle = (dot / norm(&a) / norm(&c)).acos();
    let arc = of(mix(((0.75 * angle).sin() / angle.sin()) as f32, ((0.25 * angle).sin() / angle.sin()) as f32));
    let (share, rest) = arc.spherical().unwrap();
    assert!((share - 0.25).abs() < 1e-5 && rest < 1e-5, "{share} {rest}");
    assert!(arc.linear().unwrap().1 > 0.05);
}

#[test]
fn blocks_are_compared_by_their_numbers() {
    let block: Vec<u8> = [0x00, 0x3c].into_iter().chain(0..32).collect();
    let numbers: Vec<f32> = (0..32).map(|n| n as f32).collect();
    let found = Difference::of(Dtype::F32, &bytes(&numbers), Dtype::Q80, &block).unwrap();
    assert_eq!((found.elements, found.changed, found.cosine()), (32, 0, Some(1.0)));
    assert!(Difference::of(Dtype::Text, b"a", Dtype::Text, b"b").is_err());
}
