//! Action results and trees in their binary form: what they name, and what is inlined in them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| larder::protocol::reapi::fuzzing::action_result(bytes));
