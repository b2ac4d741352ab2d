//! How many reports a second one core merges and judges.
fn main() {}
