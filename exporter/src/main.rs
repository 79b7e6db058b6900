//! The program `rift-exporter`.

fn main() {}
