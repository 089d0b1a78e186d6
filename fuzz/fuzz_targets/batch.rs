//! Requests that have many blobs in them, against the decoder of the API's own library.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| larder::protocol::reapi::fuzzing::batch(bytes));
