//! The program `wh`.
fn main() {}
