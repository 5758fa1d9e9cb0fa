//! What clients send over a WebSocket. The laws are in src/fuzz.rs.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| rowcast::fuzz::client_frames(data));
