//! Grouping bytes by their position modulo four.
//!
//! Group `k` holds the bytes at `k`, `k + 4`, `k + 8`, …; the four groups follow each other. With `n` bytes, group `k`
//! has `n / 4` bytes, and one more when `k < n mod 4`. Planes of equal significance compress better than their mixture.

/// Lengths of the four groups of `len` bytes.
fn lens(len: usize) -> [usize; 4] {
    std::array::from_fn(|group| len / 4 + usize::from(group < len % 4))
}

/// Appends the grouped bytes of `raw` to `out`.
pub(super) fn group(raw: &[u8], out: &mut Vec<u8>) {
    let (quads, tail) = raw.as_chunks::<4>();
    for plane in 0..4 {
        out.extend(quads.iter().map(|quad| quad[plane]));
        out.extend(tail.get(plane));
    }
}

/// Writes the bytes whose groups are `planes` to `raw`; both have the same length.
pub(super) fn ungroup(planes: &[u8], raw: &mut [u8]) {
    let [first, second, third, _] = lens(planes.len());
    let (a, rest) = planes.split_at(first);
    let (b, rest) = rest.split_at(second);
    let (c, d) = rest.split_at(third);
    let (quads, tail) = raw.as_chunks_mut::<4>();
    for ((((quad, &a), &b), &c), &d) in quads.iter_mut().zip(a).zip(b).zip(c).zip(d) {
        *quad = [a, b, c, d];
    }
    for (byte, plane) in tail.iter_mut().zip([a, b, c]) {
        *byte = plane.last().copied().unwrap_or_default();
    }
}
