//! Whether numbers are a mixture of two others.
//!
//! Everything is taken from `a`: with `u = b − a` and `v = c − a`, the mixture `b = x·a + y·c` is `u = (x + y − 1)·a + y·v`.
//! When the three are close to each other, as fine-tunes of one model are, that loses no digits.

use crate::number::Numbers;

/// Sums over triples of numbers `(a, b, c)`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Mixture {
    /// Triples of finite numbers.
    pub elements: u64,
    /// `Σ a²`.
    pub aa: f64,
    /// `Σ a·u`.
    pub au: f64,
    /// `Σ a·v`.
    pub av: f64,
    /// `Σ u²`.
    pub uu: f64,
    /// `Σ u·v`.
    pub uv: f64,
    /// `Σ v²`.
    pub vv: f64,
}

impl Mixture {
    /// Takes in numbers.
    pub fn add(&mut self, a: &Numbers, b: &Numbers, c: &Numbers) {
        match (a, b, c) {
            (Numbers::Single(a), Numbers::Single(b), Numbers::Single(c)) => {
                for ((a, b), c) in a.iter().zip(b).zip(c) {
                    self.add_one(f64::from(*a), f64::from(*b), f64::from(*c));
                }
            }
            _ => {
                for at in 0..a.len().min(b.len()).min(c.len()) {
                    if let (Some(a), Some(b), Some(c)) = (a.get(at), b.get(at), c.get(at)) {
                        self.add_one(a, b, c);
                    }
                }
            }
        }
    }

    #[inline]
    fn add_one(&mut self, a: f64, b: f64, c: f64) {
        let (u, v) = (b - a, c - a);
        let found = Self { elements: 1, aa: a * a, au: a * u, av: a * v, uu: u * u, uv: u * v, vv: v * v };
        if (found.aa + found.uu + found.vv).is_finite() {
            self.merge(&found);
        }
    }

    /// Takes in the sums over other triples.
    pub fn merge(&mut self, other: &Self) {
        self.elements += other.elements;
        self.aa += other.aa;
        self.au += other.au;
        self.av += other.av;
        self.uu += other.uu;
        self.uv += other.uv;
        self.vv += other.vv;
    }

    /// The share `t` of `c` in the best `b = (1 − t)·a + t·c`, and what is left, as a share of `‖b‖`.
    #[must_use]
    pub fn linear(&self) -> Option<(f64, f64)> {
        let share = self.uv / self.vv;
        let rest = self.uu - share * self.uv;
        self.answer(share, rest)
    }

    /// The share `t` of `c` on the arc from `a` to `c`, and what is left, as a share of `‖b‖`: spherical linear
    /// interpolation (Shoemake 1985) with coefficients `sin((1 − t)Ω) / sin Ω` and `sin(tΩ) / sin Ω`.
    #[must_use]
    pub fn spherical(&self) -> Option<(f64, f64)> {
        let cc = self.aa + 2.0 * self.av + self.vv;
        let angle = ((self.aa + self.av) / (self.aa * cc).sqrt()).clamp(-1.0, 1.0).acos();
        if !angle.is_finite() || angle < 1e-3 {
            return None;
        }
        let rest = |t: f64| {
            let (x, y) = (((1.0 - t) * angle).sin() / angle.sin(), (t * angle).sin() / angle.sin());
            let p = x + y - 1.0;
            let squares = self.uu + p * p * self.aa + y * y * self.vv;
            squares - 2.0 * p * self.au - 2.0 * y * self.uv + 2.0 * p * y * self.av
        };
        // What is left has one minimum on the arc: golden section.
        let ratio = (5f64.sqrt() - 1.0) / 2.0;
        let (mut low, mut high) = (-0.5, 1.5);
        for _ in 0..80 {
            let (left, right) = (high - ratio * (high - low), low + ratio * (high - low));
            if rest(left) < rest(right) { high = right } else { low = left }
        }
        let share = f64::midpoint(low, high);
        self.answer(share, rest(share))
    }

    fn answer(&self, share: f64, rest: f64) -> Option<(f64, f64)> {
        let bb = self.aa + 2.0 * self.au + self.uu;
        let left = (rest.max(0.0) / bb).sqrt();
        (share.is_finite() && left.is_finite()).then_some((share, left))
    }
}
