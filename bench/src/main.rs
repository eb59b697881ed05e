//! Stub.
fn main() { let _ = bireme::prelude::Session::builder(); }
