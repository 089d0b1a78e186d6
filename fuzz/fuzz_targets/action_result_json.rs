//! Action results between JSON and their binary form.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| larder::protocol::reapi::fuzzing::action_result_json(bytes));
