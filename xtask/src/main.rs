//! Repository verbs.
fn main() {}
