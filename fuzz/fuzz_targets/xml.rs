//! Documents of both doors.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| larder::protocol::s3::fuzzing::xml(bytes));
