//! Configuration files. The laws are in src/fuzz.rs.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rowcast::fuzz::config_file(data));
