//! How long it takes to check a token.
fn main() {}
