//! Messages of a call, whole and cut.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| larder::protocol::reapi::fuzzing::grpc(bytes));
