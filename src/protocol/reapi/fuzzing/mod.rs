//! What must hold of whatever bytes come: each function takes some and panics if it doesn't.
//!
//! `fuzz/` runs them for as long as one likes, the tests below for a second each. Where the library of the API reads the
//! same messages, it is the judge: what is taken here it must have read alike.

mod calls;
mod names;
mod requests;
mod results;
#[cfg(test)]
mod tests;

use tonic::{Code, Status};

pub use calls::{grpc, zstd};
pub use names::resource_name;
pub use requests::batch;
pub use results::{action_result, action_result_json};

use crate::digest::Function;

const FUNCTIONS: [Function; 2] = [Function::Sha256, Function::Blake3];

/// A refusal is the client's doing, and in words that a terminal can show.
fn is_calm(status: &Status) {
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(!status.message().is_empty() && !status.message().contains(char::is_control), "{status:?}");
}
