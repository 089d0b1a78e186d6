//! Requests to the Azure Blob door, signed by whoever.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| larder::protocol::azure::fuzzing::signature(bytes));
