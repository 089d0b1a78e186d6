//! Signatures, made here by hand and with what the SDKs were seen to sign.

use std::collections::BTreeMap;

use base64::Engine as _;
use hyper::header::{HeaderName, HeaderValue};

use super::*;
use crate::keyring::Secret;

const KEY: &[u8] = b"a key of sixty-four bytes, which is what Azure's account keys have";
const NOW: u64 = 1_790_000_000;

fn grant(id: &str, access: Access, expires: Option<u64>, key: &[u8]) -> Grant {
    Grant { id: id.into(), place: "cache".into(), access, expires, secret: Secret::new(key) }
}

fn sign(text: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(KEY).expect("any length").chain_update(text);
    STANDARD.encode(mac.finalize().into_bytes())
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a value"))
    };
    pairs.iter().map(pair).collect()
}

/// A request for a blob of the container.
fn ask(
    keyring: &Keyring,
    admission: Admission,
    (method, path, query): (&Method, &str, &str),
    headers: &HeaderMap,
) -> Result<Rights, Refusal> {
    let query = Query::parse(Some(query));
    let blob = path.strip_prefix("/larder/cache/");
    let asked = Asked { method, path, query: &query, headers, container: Some("cache"), blob };
    rights(keyring, admission, &asked)
}

fn code(rights: Result<Rights, Refusal>) -> &'static str {
    rights.expect_err("refused").code
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after the epoch").as_secs()
}

fn date(at: u64) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + std::time::Duration::from_secs(at))
}

#[test]
fn what_is_not_signed_is_the_owners() {
    let keyring = Keyring::of(vec![grant("a", Access::ReadWrite, None, KEY)]);
    let request = (&Method::GET, "/larder/cache/x", "");
    assert_eq!(ask(&keyring, Admission::Owner, request, &HeaderMap::new()).ok(), Some(Rights::ALL));
    assert_eq!(code(ask(&keyring, Admission::Signed, request, &HeaderMap::new())), "AuthenticationFailed");
    let token = (&Method::GET, "/larder/cache/x", "token=local");
    assert_eq!(ask(&keyring, Admission::Owner, token, &HeaderMap::new()).ok(), Some(Rights::ALL));
    let bearer = headers(&[("authorization", "Bearer x")]);
    assert_eq!(ask(&keyring, Admission::Owner, request, &bearer).ok(), Some(Rights::ALL));
    assert_eq!(code(ask(&keyring, Admission::Signed, request, &bearer)), "AuthenticationFailed");
}

/// A Put Block as lage sends it.
fn put_block(at: u64) -> (HeaderMap, String) {
    let date = date(at);
    let signed = headers(&[
        ("content-length", "3072"),
        ("content-type", "application/octet-stream"),
        ("x-ms-version", "2025-05-05"),
        ("x-ms-date", &date),
        ("x-ms-client-request-id", "0b8f"),
        ("accept", "application/xml"),
    ]);
    let text = format!(
        "PUT\n\n\n3072\n\napplication/octet-stream\n\n\n\n\n\n\nx-ms-client-request-id:0b8f\nx-ms-date:{date}\n\
         x-ms-version:2025-05-05\n/larder/larder/cache/a%20b\nblockid:YQ==\ncomp:block"
    );
    (signed, text)
}

const PUT_BLOCK: (&Method, &str, &str) = (&Method::PUT, "/larder/cache/a%20b", "comp=block&blockid=YQ%3D%3D");

#[test]
fn shared_keys_are_verified_exactly() {
    let (mut signed, text) = put_block(now());
    let authorization = |signature: &str| format!("SharedKey larder:{signature}");
    let insert = |headers: &mut HeaderMap, value: &str| {
        headers.insert(AUTHORIZATION, HeaderValue::from_str(value).expect("a value"));
    };
    insert(&mut signed, &authorization(&sign(&text)));
    let read_write = Keyring::of(vec![
        grant("other", Access::ReadWrite, None, b"another key"),
        grant("this", Access::ReadWrite, Some(now() + 60), KEY),
    ]);
    for admission in [Admission::Owner, Admission::Signed] {
        assert_eq!(ask(&read_write, admission, PUT_BLOCK, &signed).ok(), Some(Rights::ALL));
    }
    let read_only = Keyring::of(vec![grant("this", Access::ReadOnly, None, KEY)]);
    assert_eq!(ask(&read_only, Admission::Owner, PUT_BLOCK, &signed).ok(), Some(Rights::LOOK));
    let expired = Keyring::of(vec![grant("this", Access::ReadWrite, Some(now() - 1), KEY)]);
    assert_eq!(code(ask(&expired, Admission::Owner, PUT_BLOCK, &signed)), "AuthenticationFailed");
    assert_eq!(code(ask(&Keyring::none(), Admission::Owner, PUT_BLOCK, &signed)), "AuthenticationFailed");

    // Whatever is signed makes another signature.
    for (name, value) in [
        ("content-length", "3073"),
        ("content-type", "text/plain"),
        ("x-ms-version", "2025-05-06"),
        ("x-ms-date", &date(now() + 5)),
        ("x-ms-more", "1"),
        ("range", "bytes=0-1"),
        ("if-none-match", "*"),
        ("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg=="),
    ] {
        let mut other = signed.clone();
        other.insert(name, HeaderValue::from_str(value).expect("a value"));
        assert_eq!(
            code(ask(&read_write, Admission::Owner, PUT_BLOCK, &other)),
            "AuthenticationFailed",
            "{name}"
        );
    }
    for other in [
        (&Method::GET, PUT_BLOCK.1, PUT_BLOCK.2),
        (PUT_BLOCK.0, "/larder/cache/a%20c", PUT_BLOCK.2),
        (PUT_BLOCK.0, "/larder/cache/a b", PUT_BLOCK.2),
        (PUT_BLOCK.0, PUT_BLOCK.1, "comp=block&blockid=YQ%3D%3E"),
        (PUT_BLOCK.0, PUT_BLOCK.1, "comp=block"),
    ] {
        assert_eq!(
            code(ask(&read_write, Admission::Owner, other, &signed)),
            "AuthenticationFailed",
            "{other:?}"
        );
    }
    // What isn't signed may be anything, and so may the order of the query.
    let mut other = signed.clone();
    other.insert("accept", HeaderValue::from_static("*/*"));
    let turned = (PUT_BLOCK.0, PUT_BLOCK.1, "blockid=YQ%3D%3D&comp=block");
    assert!(ask(&read_write, Admission::Owner, turned, &other).is_ok());
    let good = sign(&text);
    for bad in [
        "SharedKey larder",
        "SharedKey larder:",
        "SharedKey larder:!!!",
        &format!("SharedKey devstoreaccount1:{good}"),
        &authorization(&good[1..]),
        &authorization(&sign(&text.to_lowercase())),
    ] {
        let mut other = signed.clone();
        insert(&mut other, bad);
        assert_eq!(
            code(ask(&read_write, Admission::Owner, PUT_BLOCK, &other)),
            "AuthenticationFailed",
            "{bad}"
        );
    }
}

#[test]
fn clocks_may_differ_by_a_quarter_of_an_hour() {
    let keyring = Keyring::of(vec![grant("this", Access::ReadWrite, None, KEY)]);
    let asked = |at: u64| {
        let (mut signed, text) = put_block(at);
        let value = format!("SharedKey larder:{}", sign(&text));
        signed.insert(AUTHORIZATION, HeaderValue::from_str(&value).expect("a value"));
        ask(&keyring, Admission::Owner, PUT_BLOCK, &signed)
    };
    for minutes in [0, 14] {
        assert!(asked(now() - minutes * 60).is_ok() && asked(now() + minutes * 60).is_ok(), "{minutes}");
    }
    for refused in [asked(now() - 20 * 60), asked(now() + 20 * 60)] {
        let refused = refused.expect_err("too far");
        assert!(refused.code == "AuthenticationFailed" && refused.message.contains("clock"), "{refused:?}");
    }
    let (_, text) = put_block(now());
    let value =
        format!("SharedKey larder:{}", sign(&text.replace(&format!("x-ms-date:{}\n", date(now())), "")));
    let undated = headers(&[
        ("content-length", "3072"),
        ("content-type", "application/octet-stream"),
        ("x-ms-version", "2025-05-05"),
        ("x-ms-client-request-id", "0b8f"),
        ("authorization", &value),
    ]);
    assert_eq!(code(ask(&keyring, Admission::Owner, PUT_BLOCK, &undated)), "AuthenticationFailed");
}

/// The fields of a SAS, and its signature as a query.
#[derive(Clone)]
struct Sas(BTreeMap<&'static str, String>);

impl Sas {
    fn service() -> Self {
        Self(
            [
                ("sv", "2021-12-02"),
                ("sr", "c"),
                ("sp", "rl"),
                ("st", "2020-01-01T00:00:00Z"),
                ("se", "2099-01-01T00:00:00Z"),
            ]
            .map(|(name, value)| (name, value.to_owned()))
            .into(),
        )
    }

    fn account() -> Self {
        let fields =
            [("ss", "b"), ("srt", "sco"), ("sp", "rwdlc"), ("se", "2099-01-01"), ("sv", "2021-12-02")];
        Self(fields.map(|(name, value)| (name, value.to_owned())).into())
    }

    fn with(&self, name: &'static str, value: &str) -> Self {
        let mut other = self.clone();
        other.0.insert(name, value.to_owned());
        other
    }

    fn field(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// As the SDKs do it, by their documentation.
    fn text(&self, resource: &str) -> String {
        let f = |name| self.field(name);
        if self.0.contains_key("ss") {
            return format!(
                "larder\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n",
                f("sp"),
                f("ss"),
                f("srt"),
                f("st"),
                f("se"),
                f("sip"),
                f("spr"),
                f("sv"),
                f("ses")
            );
        }
        format!(
            "{}\n{}\n{}\n{resource}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}",
            f("sp"),
            f("st"),
            f("se"),
            f("si"),
            f("sip"),
            f("spr"),
            f("sv"),
            f("sr"),
            "",
            f("ses"),
            f("rscc"),
            f("rscd"),
            f("rsce"),
            f("rscl"),
            f("rsct")
        )
    }

    fn query(&self, signed: &Self, resource: &str) -> String {
        let escaped = |text: &str| {
            percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
        };
        let fields: Vec<String> =
            self.0.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
        format!("{}&sig={}", fields.join("&"), escaped(&sign(&signed.text(resource))))
    }
}

fn asked_with(sas: &Sas, signed: &Sas, access: Access) -> Result<Rights, Refusal> {
    let keyring = Keyring::of(vec![grant("this", access, None, KEY)]);
    let query = sas.query(signed, "/blob/larder/cache");
    ask(&keyring, Admission::Signed, (&Method::GET, "/larder/cache/x", &query), &HeaderMap::new())
}

#[test]
fn a_sas_of_a_container_lets_do_what_it_says() {
    let sas = Sas::service();
    assert_eq!(asked_with(&sas, &sas, Access::ReadWrite).ok(), Some(Rights::LOOK));
    let all = sas.with("sp", "racwdl");
    assert_eq!(asked_with(&all, &all, Access::ReadWrite).ok(), Some(Rights::ALL));
    assert_eq!(asked_with(&all, &all, Access::ReadOnly).ok(), Some(Rights::LOOK), "no more than its key");
    let create = sas.with("sp", "c");
    let only = Rights { create: true, ..Rights::default() };
    assert_eq!(asked_with(&create, &create, Access::ReadWrite).ok(), Some(only));

    // Each field is signed.
    for (name, value) in [
        ("sp", "rwl"),
        ("st", "2019-01-01T00:00:00Z"),
        ("se", "2098-01-01T00:00:00Z"),
        ("sv", "2022-11-02"),
        ("sr", "b"),
        ("spr", "https,http"),
        ("ses", "scope"),
        ("rscc", "no-cache"),
        ("rscd", "x"),
        ("rsce", "x"),
        ("rscl", "x"),
        ("rsct", "text/html"),
    ] {
        let other = sas.with(name, value);
        assert_eq!(code(asked_with(&other, &sas, Access::ReadWrite)), "AuthenticationFailed", "{name}");
        if name != "sr" {
            assert!(asked_with(&other, &other, Access::ReadWrite).is_ok(), "{name}");
        }
    }
    for (name, value, expected) in [
        ("se", "2020-01-01T00:00:00Z", "AuthenticationFailed"),
        ("se", "", "AuthenticationFailed"),
        ("se", "whenever", "AuthenticationFailed"),
        ("st", "2098-01-01T00:00:00Z", "AuthenticationFailed"),
        ("si", "policy", "AuthenticationFailed"),
        ("sip", "10.0.0.1", "AuthorizationSourceIPMismatch"),
        ("spr", "https", "AuthorizationProtocolMismatch"),
        ("sr", "d", "AuthenticationFailed"),
        ("skoid", "x", "AuthenticationFailed"),
    ] {
        let other = sas.with(name, value);
        assert_eq!(code(asked_with(&other, &other, Access::ReadWrite)), expected, "{name}={value}");
    }
}

/// To the second, unlike a SharedKey's date: who signs with a clock that is 20 minutes off is refused.
#[test]
fn a_sas_lasts_from_its_start_to_its_end() {
    let at = |seconds: i64| {
        let time = chrono::DateTime::from_timestamp(now() as i64 + seconds, 0).expect("a time");
        time.format("%Y-%m-%dT%H:%M:%SZ").to_string()
    };
    for (name, seconds, valid) in [
        ("st", 20 * 60, false),
        ("st", 60, false),
        ("st", -20 * 60, true),
        ("se", -20 * 60, false),
        ("se", 0, false),
        ("se", 20 * 60, true),
    ] {
        for sas in [Sas::service(), Sas::account()] {
            let sas = sas.with(name, &at(seconds));
            let seen = asked_with(&sas, &sas, Access::ReadWrite);
            assert_eq!(seen.is_ok(), valid, "{name} {seconds}");
            assert!(valid || code(seen) == "AuthenticationFailed", "{name} {seconds}");
        }
    }
}

#[test]
fn older_ones_sign_less_and_one_of_a_blob_is_for_that_blob() {
    let keyring = Keyring::of(vec![grant("this", Access::ReadWrite, None, KEY)]);
    let get = |path: &str, query: &str| {
        ask(&keyring, Admission::Signed, (&Method::GET, path, query), &HeaderMap::new())
    };
    let end = "2099-01-01T00%3A00%3A00Z";
    let escaped = |text: &str| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let of_2018 = "r\n\n2099-01-01T00:00:00Z\n/blob/larder/cache\n\n\n\n2019-07-07\nc\n\n\n\n\n\n";
    let query = format!("sv=2019-07-07&sr=c&sp=r&se={end}&sig={}", escaped(&sign(of_2018)));
    assert!(get("/larder/cache/x", &query).is_ok());
    let of_2015 = "r\n\n2099-01-01T00:00:00Z\n/blob/larder/cache\n\n\n\n2015-04-05\n\n\n\n\n";
    let query = format!("sv=2015-04-05&sr=c&sp=r&se={end}&sig={}", escaped(&sign(of_2015)));
    assert!(get("/larder/cache/x", &query).is_ok());

    let of_blob = Sas::service().with("sr", "b");
    let query = of_blob.query(&of_blob, "/blob/larder/cache/x");
    assert!(get("/larder/cache/x", &query).is_ok());
    assert_eq!(code(get("/larder/cache/y", &query)), "AuthenticationFailed");
    assert_eq!(code(get("/larder/cache", &query)), "AuthorizationResourceTypeMismatch");
}

#[test]
fn a_sas_of_the_account_is_for_its_services_and_levels() {
    let sas = Sas::account();
    assert_eq!(asked_with(&sas, &sas, Access::ReadWrite).ok(), Some(Rights::ALL));
    for (name, value, expected) in [
        ("ss", "q", "AuthorizationServiceMismatch"),
        ("srt", "sc", "AuthorizationResourceTypeMismatch"),
        ("se", "2020-01-01", "AuthenticationFailed"),
    ] {
        let other = sas.with(name, value);
        assert_eq!(code(asked_with(&other, &other, Access::ReadWrite)), expected, "{name}={value}");
        assert_eq!(code(asked_with(&other, &sas, Access::ReadWrite)), "AuthenticationFailed", "{name}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let grant = grant("this", Access::ReadWrite, Some(NOW), KEY);
    assert!(!format!("{grant:?}").contains("sixty"), "{grant:?}");
}
