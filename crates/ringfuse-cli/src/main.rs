//! Filesystems served by ringfuse, as one program.
fn main() {}
