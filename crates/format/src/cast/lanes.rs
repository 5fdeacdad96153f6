//! Numbers between two types: a few thousand at a time, in one of four types that lose nothing.

use super::float;
use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::number::{Numbers, numbers};
use crate::output::Step;

/// Numbers in the narrowest of four types that holds all those of their source.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    kind: Kind,
    single: Vec<f32>,
    double: Vec<f64>,
    signed: Vec<i64>,
    unsigned: Vec<u64>,
}

/// Which of the vectors holds the numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    /// Floats of up to 32 bits, and dequantised blocks.
    #[default]
    Single,
    /// `F64`.
    Double,
    /// Integers, but for `U64`; truth is 0 or 1.
    Signed,
    /// `U64`.
    Unsigned,
}

/// Whether numbers can be read out of a type.
pub(super) fn can_read(dtype: Dtype) -> bool {
    !matches!(
        dtype,
        Dtype::Text | Dtype::F128 | Dtype::QI8 | Dtype::QU8 | Dtype::QI32 | Dtype::C32 | Dtype::C64 | Dtype::C128
    )
}

/// Whether [`Lanes::write`] knows a type.
pub(super) fn can_write(dtype: Dtype) -> bool {
    matches!(
        dtype,
        Dtype::Bool
            | Dtype::U8
            | Dtype::I8
            | Dtype::U16
            | Dtype::I16
            | Dtype::U32
            | Dtype::I32
            | Dtype::U64
            | Dtype::I64
            | Dtype::F16
            | Dtype::BF16
            | Dtype::F32
            | Dtype::F64
            | Dtype::F8E4M3
            | Dtype::F8E5M2
            | Dtype::F8E4M3Fnuz
            | Dtype::F8E5M2Fnuz
            | Dtype::F8E4M3B11Fnuz
            | Dtype::F8E8M0
    )
}

impl Lanes {
    /// Replaces what is there by the numbers in whole elements or blocks.
    pub(super) fn read(&mut self, dtype: Dtype, bytes: &[u8]) -> Result<(), FormatError> {
        self.kind = kind(dtype);
        match dtype {
            Dtype::F32 => map(&mut self.single, bytes, f32::from_le_bytes),
            Dtype::BF16 => map(&mut self.single, bytes, |b| float::from_bf16(u16::from_le_bytes(b))),
            Dtype::F16 => map(&mut self.single, bytes, |b| float::from_f16(u16::from_le_bytes(b))),
            Dtype::F64 => map(&mut self.double, bytes, f64::from_le_bytes),
            Dtype::Bool => map(&mut self.signed, bytes, |[byte]| i64::from(byte != 0)),
            Dtype::U8 => map(&mut self.signed, bytes, |[byte]| i64::from(byte)),
            Dtype::I8 => map(&mut self.signed, bytes, |b| i64::from(i8::from_le_bytes(b))),
            Dtype::U16 => map(&mut self.signed, bytes, |b| i64::from(u16::from_le_bytes(b))),
            Dtype::I16 => map(&mut self.signed, bytes, |b| i64::from(i16::from_le_bytes(b))),
            Dtype::U32 => map(&mut self.signed, bytes, |b| i64::from(u32::from_le_bytes(b))),
            Dtype::I32 => map(&mut self.signed, bytes, |b| i64::from(i32::from_le_bytes(b))),
            Dtype::I64 => map(&mut self.signed, bytes, i64::from_le_bytes),
            Dtype::U64 => map(&mut self.unsigned, bytes, u64::from_le_bytes),
            other => match (numbers(other, bytes)?, self.kind) {
                (Numbers::Single(found), Kind::Signed) => refill(&mut self.signed, &found, |number| number as i64),
                (Numbers::Single(found), _) => self.single = found,
                // Powers of two, in the range of single precision.
                (Numbers::Double(found), _) => refill(&mut self.single, &found, |number| number as f32),
            },
        }
        Ok(())
    }

    /// Takes the steps, in single precision or, where `wide`, in double.
    pub(super) fn change(&mut self, steps: &[Step], wide: bool) {
        if wide && !steps.is_empty() {
            self.make_double();
        }
        for &step in steps {
            match (step, wide) {
                (Step::Add(term), true) => self.double.iter_mut().for_each(|number| *number += term),
                (Step::Scale(factor), true) => self.double.iter_mut().for_each(|number| *number *= factor),
                (Step::NegatedExp, true) => self.double.iter_mut().for_each(|number| *number = -number.exp()),
                (Step::LogOfNegated, true) => self.double.iter_mut().for_each(|number| *number = (-*number).ln()),
                (Step::Add(term), false) => self.each_single(|number| number + term as f32),
                (Step::Scale(factor), false) => self.each_single(|number| number * factor as f32),
                // In double precision and rounded once, so that every machine finds the same.
                (Step::NegatedExp, false) => self.each_single(|number| -f64::from(number).exp() as f32),
                (Step::LogOfNegated, false) => self.each_single(|number| (-f64::from(number)).ln() as f32),
            }
        }
    }

    /// Writes the numbers as `dtype` over `out`, which has room for exactly them.
    pub(super) fn write(&mut self, dtype: Dtype, out: &mut [u8]) {
        macro_rules! cast {
            ($number:ident => $encode:expr) => {
                match self.kind {
                    Kind::Single => put(&self.single, out, |$number| $encode),
                    Kind::Double => put(&self.double, out, |$number| $encode),
                    Kind::Signed => put(&self.signed, out, |$number| $encode),
                    Kind::Unsigned => put(&self.unsigned, out, |$number| $encode),
                }
            };
        }
        match dtype {
            Dtype::Bool => cast!(number => [u8::from(number as f64 != 0.0)]),
            Dtype::U8 => cast!(number => (number as u8).to_le_bytes()),
            Dtype::I8 => cast!(number => (number as i8).to_le_bytes()),
            Dtype::U16 => cast!(number => (number as u16).to_le_bytes()),
            Dtype::I16 => cast!(number => (number as i16).to_le_bytes()),
            Dtype::U32 => cast!(number => (number as u32).to_le_bytes()),
            Dtype::I32 => cast!(number => (number as i32).to_le_bytes()),
            Dtype::U64 => cast!(number => (number as u64).to_le_bytes()),
            Dtype::I64 => cast!(number => (number as i64).to_le_bytes()),
            Dtype::F64 => cast!(number => (number as f64).to_le_bytes()),
            Dtype::F32 => cast!(number => (number as f32).to_le_bytes()),
            // The narrower ones by way of single precision, as torch does: from 64 bits that rounds twice.
            Dtype::F16 => put(self.singles(), out, |number| float::to_f16(number).to_le_bytes()),
            Dtype::BF16 => put(self.singles(), out, |number| float::to_bf16(number).to_le_bytes()),
            Dtype::F8E4M3 => put(self.singles(), out, |number| [float::to_e4m3(number)]),
            Dtype::F8E5M2 => put(self.singles(), out, |number| [float::to_e5m2(number)]),
            Dtype::F8E4M3Fnuz => put(self.singles(), out, |number| [float::to_fnuz::<3, 8>(number)]),
            Dtype::F8E5M2Fnuz => put(self.singles(), out, |number| [float::to_fnuz::<2, 16>(number)]),
            Dtype::F8E4M3B11Fnuz => put(self.singles(), out, |number| [float::to_fnuz::<3, 11>(number)]),
            Dtype::F8E8M0 => put(self.singles(), out, |number| [float::to_e8m0(number)]),
            // `can_write` says no to all others.
            _ => {}
        }
    }

    /// How many numbers there are.
    pub(super) fn len(&self) -> usize {
        match self.kind {
            Kind::Single => self.single.len(),
            Kind::Double => self.double.len(),
            Kind::Signed => self.signed.len(),
            Kind::Unsigned => self.unsigned.len(),
        }
    }

    /// The numbers in single precision.
    pub(super) fn singles(&mut self) -> &[f32] {
        match self.kind {
            Kind::Single => {}
            Kind::Double => refill(&mut self.single, &self.double, |number| number as f32),
            Kind::Signed => refill(&mut self.single, &self.signed, |number| number as f32),
            Kind::Unsigned => refill(&mut self.single, &self.unsigned, |number| number as f32),
        }
        self.kind = Kind::Single;
        &self.single
    }

    fn each_single(&mut self, change: impl Fn(f32) -> f32) {
        self.singles();
        self.single.iter_mut().for_each(|number| *number = change(*number));
    }

    fn make_double(&mut self) {
        match self.kind {
            Kind::Single => refill(&mut self.double, &self.single, f64::from),
            Kind::Double => {}
            Kind::Signed => refill(&mut self.double, &self.signed, |number| number as f64),
            Kind::Unsigned => refill(&mut self.double, &self.unsigned, |number| number as f64),
        }
        self.kind = Kind::Double;
    }
}

/// The vector for the numbers of a type.
fn kind(dtype: Dtype) -> Kind {
    match dtype {
        Dtype::F64 => Kind::Double,
        Dtype::U64 => Kind::Unsigned,
        Dtype::Bool | Dtype::U8 | Dtype::I8 | Dtype::U16 | Dtype::I16 | Dtype::U32 | Dtype::I32 | Dtype::I64 => {
            Kind::Signed
        }
        Dtype::I4 | Dtype::U4 | Dtype::I2 | Dtype::U2 => Kind::Signed,
        _ => Kind::Single,
    }
}

fn map<const N: usize, T>(numbers: &mut Vec<T>, bytes: &[u8], decode: impl Fn([u8; N]) -> T) {
    numbers.clear();
    numbers.extend(bytes.as_chunks::<N>().0.iter().map(|&chunk| decode(chunk)));
}

fn refill<S: Copy, T>(numbers: &mut Vec<T>, from: &[S], change: impl Fn(S) -> T) {
    numbers.clear();
    numbers.extend(from.iter().map(|&number| change(number)));
}

fn put<const N: usize, T: Copy>(numbers: &[T], out: &mut [u8], encode: impl Fn(T) -> [u8; N]) {
    for (place, &number) in out.as_chunks_mut::<N>().0.iter_mut().zip(numbers) {
        *place = encode(number);
    }
}
