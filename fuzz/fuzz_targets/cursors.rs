//! Positions that clients come back with. The laws are in src/fuzz.rs.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rowcast::fuzz::cursors(data));
