//! Bodies in aws-chunked, however they are cut.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| larder::protocol::s3::fuzzing::chunked(bytes));
