//! Generates and checks the committed tables.
fn main() {}
