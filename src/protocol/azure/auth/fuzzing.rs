//! Signatures that come from anywhere: who doesn't have the key opens nothing, and who has it opens what it says.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::{Asked, Rights, sas, shared_key};
use crate::keyring::{Access, Grant, Secret};
use crate::protocol::objects::fuzzing::{head, is_calm};
use crate::protocol::objects::query::Query;

/// 2026-01-01T00:00:00Z.
const NOW: u64 = 1_767_225_600;
const CONTAINER: &str = "cache";

/// A request (see `head` of the doors' own fuzzing) whose signature is not ours is refused; the same signed with our key is
/// taken or refused for its times, and then no other path, and no other query, is opened by it.
pub fn signature(bytes: &[u8]) {
    let Some(head) = head(bytes) else { return };
    let query = Query::parse(head.uri.query());
    let grants = [grant(Access::ReadOnly)];
    let path = head.uri.path();
    let asked = Asked {
        method: &head.method,
        path,
        query: &query,
        headers: &head.headers,
        container: Some(CONTAINER),
        blob: path.strip_prefix("/larder/cache/"),
    };

    let said = head.headers.get("authorization").and_then(|value| value.to_str().ok());
    let credentials = said.and_then(|value| value.strip_prefix("SharedKey ")).unwrap_or_default();
    refused(shared_key::rights(&grants, credentials, &asked, NOW));
    refused(sas::rights(&grants, &asked, NOW));

    let ours = format!("larder:{}", signed(&shared_key::string_to_sign(&asked)));
    match shared_key::rights(&grants, &ours, &asked, NOW) {
        Ok(rights) => {
            assert_eq!(rights, Rights::of(Access::ReadOnly));
            let other = format!("{path}x");
            refused(shared_key::rights(&grants, &ours, &Asked { path: &other, ..asked }, NOW));
            refused(shared_key::rights(&[grant_of(b"other")], &ours, &asked, NOW));
        }
        Err(refusal) => is_calm(refusal.status, refusal.code, &refusal.message),
    }

    let Ok(text) = sas::signed_text(&asked) else { return };
    let rest: Vec<String> = head
        .uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| Query::parse(Some(pair)).get("sig").is_none())
        .map(str::to_owned)
        .collect();
    let sign = |rest: &str| Query::parse(Some(&format!("{rest}&sig={}", escaped(&signed(&text)))));
    let ours = sign(&rest.join("&"));
    let asked = Asked { query: &ours, ..asked };
    match sas::rights(&grants, &asked, NOW) {
        // Nothing that a signature says makes more of a key than it is.
        Ok(rights) => {
            assert!(!rights.write && !rights.create && !rights.delete, "{rights:?}");
            let more = sign(&format!("sp=rwdl&{}", rest.join("&").replace("sp=", "px=")));
            if more.text("sp") != ours.text("sp") {
                refused(sas::rights(&grants, &Asked { query: &more, ..asked }, NOW));
            }
        }
        Err(refusal) => is_calm(refusal.status, refusal.code, &refusal.message),
    }
}

fn refused(done: Result<Rights, super::Refusal>) {
    match done {
        Ok(rights) => panic!("taken without a key: {rights:?}"),
        Err(refusal) => is_calm(refusal.status, refusal.code, &refusal.message),
    }
}

fn grant(access: Access) -> Grant {
    Grant { access, ..grant_of(b"a key that no fuzzer finds") }
}

fn grant_of(secret: &[u8]) -> Grant {
    let (id, place) = ("az-test".into(), CONTAINER.into());
    Grant { id, place, access: Access::ReadWrite, expires: None, secret: Secret::new(secret) }
}

fn signed(text: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(grant(Access::ReadOnly).secret.bytes());
    let mac = mac.expect("HMAC takes keys of any length");
    STANDARD.encode(mac.chain_update(text).finalize().into_bytes())
}

fn escaped(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::objects::fuzzing::tests::damaged;

    const KEY: &[u8] =
        b"PUT /larder/cache/a?comp=block&blockid=QQ%3D%3D\nx-ms-date: Thu, 01 Jan 2026 00:00:00 GMT\n\
                         x-ms-version: 2025-05-05\ncontent-length: 5\nauthorization: SharedKey larder:AAAA";
    const SAS: &[u8] = b"GET /larder/cache/a?sv=2021-12-02&sr=c&sp=rl&se=2030-01-01T00%3A00%3A00Z&sig=AAAA\nx-ms-range: bytes=0-";
    const ACCOUNT: &[u8] = b"GET /larder/cache/a?sv=2021-12-02&ss=b&srt=sco&sp=rwdlac&st=2020-01-01&se=2030-01-01T00%3A00Z&sig=AA%3D%3D";

    /// The seeds are as clients send them: signed, they open.
    #[test]
    fn seeds_are_opened_by_our_key() {
        for seed in [KEY, SAS, ACCOUNT] {
            signature(seed);
            let head = head(seed).expect("a request");
            let query = Query::parse(head.uri.query());
            let (method, path, headers) = (&head.method, head.uri.path(), &head.headers);
            let asked =
                Asked { method, path, query: &query, headers, container: Some(CONTAINER), blob: Some("a") };
            let grants = [grant(Access::ReadOnly)];
            let taken = if query.get("sig").is_some() {
                let text = sas::signed_text(&asked).expect("a SAS");
                let ours = head.uri.query().unwrap_or_default().split("&sig=").next().unwrap_or_default();
                let ours = Query::parse(Some(&format!("{ours}&sig={}", escaped(&signed(&text)))));
                sas::rights(&grants, &Asked { query: &ours, ..asked }, NOW)
            } else {
                let ours = format!("larder:{}", signed(&shared_key::string_to_sign(&asked)));
                shared_key::rights(&grants, &ours, &asked, NOW)
            };
            assert!(taken.is_ok_and(|rights| rights.read), "{}", seed.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn signatures(bytes in damaged(vec![KEY, SAS, ACCOUNT])) {
            signature(&bytes);
        }
    }
}
