//! Action results between their two forms: binary, as they are stored, and the JSON that moon speaks over HTTP.
//!
//! JSON is the canonical mapping of protobuf, version 3: camelCase (snake_case is read too), 64-bit numbers as text,
//! default values left out. A JSON field that this version of the API does not have is refused: dropping it would
//! store something other than what was sent, and say that all was well. Binary results keep their unknown fields,
//! since nothing is converted there.

use bazel_remote_apis::build::bazel::remote::execution::v2 as wire;
use prost::Message as _;

use crate::digest::Function;
use crate::error::{Error, Result};
use crate::links::{self, Links};

/// A stored action result as JSON. `None` when the bytes are not one: other tools keep other things under the same
/// names.
pub(crate) fn to_json(function: Function, bytes: &[u8]) -> Option<Vec<u8>> {
    if links::action_result(function, bytes) == Links::Opaque {
        return None;
    }
    let result = wire::ActionResult::decode(bytes).ok()?;
    serde_json::to_vec(&result).ok()
}

/// The binary form of an action result in JSON.
///
/// # Errors
/// `Invalid` for what is not JSON, has unknown fields, or is not a well-formed action result (see [`links`]): it
/// could never be read again as one.
pub(crate) fn from_json(function: Function, json: &[u8]) -> Result<Vec<u8>> {
    let mut result: wire::ActionResult = serde_json::from_slice(json)
        .map_err(|error| Error::invalid(format!("the body is not an ActionResult in JSON: {error}")))?;
    if result == wire::ActionResult::default() {
        // An empty message would be no bytes at all, which nobody could tell from nothing.
        result.execution_metadata = Some(wire::ExecutedActionMetadata::default());
    }
    let bytes = result.encode_to_vec();
    match links::action_result(function, &bytes) {
        Links::Known(_) => Ok(bytes),
        Links::Opaque => Err(Error::invalid(
            "the ActionResult is not well-formed: every digest needs 64 lower-case hex digits and its size, every \
             path must be relative and not empty",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As moon 2.5.5 sends it.
    const MOON: &str = r#"{
        "outputFiles": [{
            "path": "packages/a/dist/out.txt",
            "digest": {"hash": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae", "sizeBytes": "3"},
            "isExecutable": true,
            "nodeProperties": {"mtime": "2026-11-21T23:53:18.223704135+00:00", "unixMode": 420}
        }],
        "outputSymlinks": [{"path": "l", "target": "dist/out.txt", "nodeProperties": {}}],
        "exitCode": 0,
        "stdoutDigest": {"hash": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        "executionMetadata": {
            "worker": "host",
            "executionStartTimestamp": "2026-11-21T23:53:18.000000001+00:00"
        }
    }"#;

    #[test]
    fn json_survives_the_way_through_the_binary_form() {
        let bytes = from_json(Function::Sha256, MOON.as_bytes()).expect("valid");
        let json = to_json(Function::Sha256, &bytes).expect("an action result");
        assert_eq!(from_json(Function::Sha256, &json).ok(), Some(bytes));
        let value: serde_json::Value = serde_json::from_slice(&json).expect("json");
        assert_eq!(value["outputFiles"][0]["digest"]["sizeBytes"], "3");
        assert_eq!(value["outputFiles"][0]["nodeProperties"]["unixMode"], 420);
        let mtime = value["outputFiles"][0]["nodeProperties"]["mtime"].as_str().expect("text");
        assert!(mtime.starts_with("2026-11-21T23:53:18.223704135"), "{mtime}");
        assert!(value.get("exitCode").is_none(), "defaults are left out");
    }

    #[test]
    fn an_empty_result_is_some_bytes() {
        let bytes = from_json(Function::Sha256, b"{}").expect("valid");
        assert!(!bytes.is_empty());
        assert!(to_json(Function::Sha256, &bytes).is_some());
    }

    #[test]
    fn what_is_no_action_result_is_refused_in_words() {
        for (json, words) in [
            ("", "not an ActionResult in JSON"),
            ("[]", "not an ActionResult in JSON"),
            (r#"{"outputFile": []}"#, "unknown field"),
            (r#"{"outputFiles": [{"path": "/a"}]}"#, "not well-formed"),
            (r#"{"stdoutDigest": {"hash": "00", "sizeBytes": "1"}}"#, "not well-formed"),
        ] {
            let error = from_json(Function::Sha256, json.as_bytes()).expect_err(json);
            assert!(error.message().contains(words), "{json}: {error}");
        }
        assert_eq!(to_json(Function::Sha256, b""), None);
        assert_eq!(to_json(Function::Sha256, b"cCrS, as ccache has it"), None);
    }
}
