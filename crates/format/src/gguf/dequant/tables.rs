//! Values that four-bit indices stand for.

/// Levels of `IQ4_NL` and `IQ4_XS`.
pub(super) const NONLINEAR: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Twice the values of a four-bit float with two exponent bits and one mantissa bit.
pub(super) const DOUBLED_E2M1: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];
