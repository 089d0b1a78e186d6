//! The names that `ByteStream` reads and writes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| larder::protocol::reapi::fuzzing::resource_name(bytes));
