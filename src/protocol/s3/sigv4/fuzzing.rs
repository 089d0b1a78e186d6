//! Signatures that come from anywhere: who doesn't have the secret is nobody, and who has it is taken for one request.

use hyper::http::request::Parts;

use super::{ALGORITHM, Caller, Claimed, caller_at};
use crate::digest::hex;
use crate::keyring::{Access, Grant, Keyring, Secret};
use crate::protocol::Admission;
use crate::protocol::objects::fuzzing::{head, is_calm};
use crate::protocol::objects::query::Query;

const ID: &str = "LARDERTEST";
/// 2026-01-01T00:00:00Z.
const NOW: i64 = 1_767_225_600;

/// A request (see `head` of the doors' own fuzzing) whose signature is not ours is refused, in a header or in a URL; the
/// same signed with our secret is taken or refused for its times, and then no other path is opened by it.
pub fn signature(bytes: &[u8]) {
    let Some(mut head) = head(bytes) else { return };
    let grant = Grant {
        id: ID.into(),
        place: "bkt".into(),
        access: Access::ReadWrite,
        expires: None,
        secret: Secret::new(&b"a secret that no fuzzer finds"[..]),
    };
    let keyring = Keyring::of(vec![grant.clone()]);
    let query = Query::parse(head.uri.query());
    let caller = |head: &Parts, query: &Query| caller_at(&keyring, Admission::Signed, head, query, NOW);
    refused(caller(&head, &query));

    let Some(Ok(claimed)) = Claimed::find(&head.headers, &query) else { return };
    if claimed.key_id != ID {
        return;
    }
    let sign = |path: &str| {
        let text = claimed.string_to_sign(&claimed.canonical(path, &head, &query));
        hex(&super::sign(&claimed.signing_key(&grant), &text))
    };
    let signature = sign(head.uri.path());
    let query = if claimed.expires.is_some() {
        let rest = head.uri.query().unwrap_or_default().split('&');
        let rest: Vec<&str> =
            rest.filter(|pair| Query::parse(Some(pair)).get("X-Amz-Signature").is_none()).collect();
        Query::parse(Some(&format!("{}&X-Amz-Signature={signature}", rest.join("&"))))
    } else {
        let value = format!(
            "{ALGORITHM} Credential={ID}/{},SignedHeaders={},Signature={signature}",
            claimed.scope, claimed.signed_headers
        );
        let Ok(value) = value.try_into() else { return };
        head.headers.insert("authorization", value);
        query
    };
    match caller(&head, &query) {
        Ok(Caller::Key(_)) => {
            let mut parts = head.uri.clone().into_parts();
            let other = format!("/x{}", head.uri.path_and_query().map_or("", |whole| whole.as_str()));
            parts.path_and_query = other.try_into().ok();
            let Ok(uri) = hyper::Uri::from_parts(parts) else { return };
            head.uri = uri;
            refused(caller(&head, &query));
        }
        done => refused(done),
    }
}

fn refused(done: Result<Caller, super::Refusal>) {
    match done {
        Ok(caller) => panic!("taken without a secret: {caller:?}"),
        Err(refusal) => is_calm(refusal.status, refusal.code, &refusal.message),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::objects::fuzzing::tests::damaged;

    const HEADER: &[u8] = b"PUT /s3/bkt/a%20b?x-id=PutObject\nhost: 127.0.0.1:5273\nx-amz-date: 20260101T000000Z\n\
        x-amz-content-sha256: UNSIGNED-PAYLOAD\nauthorization: AWS4-HMAC-SHA256 \
        Credential=LARDERTEST/20260101/eu-west-1/s3/aws4_request, SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=00";
    const URL: &[u8] = b"GET /s3/bkt/a?X-Amz-Algorithm=AWS4-HMAC-SHA256&\
        X-Amz-Credential=LARDERTEST%2F20260101%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20260101T000000Z&X-Amz-Expires=60&\
        X-Amz-SignedHeaders=host&X-Amz-Signature=00\nhost: h";

    proptest! {
        #[test]
        fn signatures(bytes in damaged(vec![HEADER, URL])) {
            signature(&bytes);
        }
    }
}
