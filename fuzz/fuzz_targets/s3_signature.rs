//! Requests to the S3 door, signed by whoever.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| larder::protocol::s3::fuzzing::signature(bytes));
