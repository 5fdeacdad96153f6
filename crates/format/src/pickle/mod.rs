//! Pickles, read by a machine that runs nothing.
