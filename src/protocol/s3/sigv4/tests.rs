//! Signatures: those that AWS publishes, and ones made here.

use hyper::Request;
use hyper::header::HeaderValue;

use super::*;
use crate::keyring::Secret;

const ID: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
/// 2013-05-24T00:00:00Z, the day of all of AWS's examples.
const THEN: i64 = 1_369_353_600;

fn keyring(access: Access, expires: Option<u64>) -> Keyring {
    let secret = Secret::new(SECRET);
    Keyring::of(vec![Grant { id: ID.into(), place: "examplebucket".into(), access, expires, secret }])
}

fn head(method: &str, uri: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a request").into_parts().0
}

fn ask(head: &Parts, admission: Admission, now: i64) -> Result<Caller, Refusal> {
    ask_of(&keyring(Access::ReadWrite, None), head, admission, now)
}

fn ask_of(keyring: &Keyring, head: &Parts, admission: Admission, now: i64) -> Result<Caller, Refusal> {
    caller_at(keyring, admission, head, &Query::parse(head.uri.query()), now)
}

fn code(caller: Result<Caller, Refusal>) -> &'static str {
    caller.expect_err("refused").code
}

fn authorization(signed: &str, signature: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential={ID}/20130524/us-east-1/s3/aws4_request,SignedHeaders={signed},Signature={signature}"
    )
}

/// GET Object of AWS's documentation.
fn get() -> Parts {
    let signature = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
    head(
        "GET",
        "/test.txt",
        &[
            ("host", "examplebucket.s3.amazonaws.com"),
            ("range", "bytes=0-9"),
            ("x-amz-content-sha256", EMPTY_SHA256),
            ("x-amz-date", "20130524T000000Z"),
            ("authorization", &authorization("host;range;x-amz-content-sha256;x-amz-date", signature)),
        ],
    )
}

#[test]
fn the_published_examples_are_verified() {
    for admission in [Admission::Owner, Admission::Signed] {
        assert!(matches!(ask(&get(), admission, THEN), Ok(Caller::Key(_))));
    }
    let put = head(
        "PUT",
        "/test%24file.text",
        &[
            ("host", "examplebucket.s3.amazonaws.com"),
            ("date", "Fri, 24 May 2013 00:00:00 GMT"),
            ("x-amz-content-sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072"),
            ("x-amz-date", "20130524T000000Z"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            (
                "authorization",
                &authorization(
                    "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
                    "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
                ),
            ),
        ],
    );
    assert!(matches!(ask(&put, Admission::Signed, THEN), Ok(Caller::Key(_))));
    let list = head(
        "GET",
        "/?max-keys=2&prefix=J",
        &[
            ("host", "examplebucket.s3.amazonaws.com"),
            ("x-amz-content-sha256", EMPTY_SHA256),
            ("x-amz-date", "20130524T000000Z"),
            (
                "authorization",
                &authorization(
                    "host;x-amz-content-sha256;x-amz-date",
                    "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
                ),
            ),
        ],
    );
    assert!(matches!(ask(&list, Admission::Signed, THEN), Ok(Caller::Key(_))));
}

const PRESIGNED: &str = "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256\
     &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z\
     &X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
     &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";

#[test]
fn a_presigned_url_is_verified_as_long_as_it_lasts() {
    let asked = |uri: &str, now| {
        ask(&head("GET", uri, &[("host", "examplebucket.s3.amazonaws.com")]), Admission::Signed, now)
    };
    for now in [THEN - 14 * 60, THEN, THEN + 86_400] {
        assert!(matches!(asked(PRESIGNED, now), Ok(Caller::Key(_))), "{now}");
    }
    let expired = asked(PRESIGNED, THEN + 86_401).expect_err("expired");
    assert_eq!((expired.code, &*expired.message), ("AccessDenied", "Request has expired"));
    assert_eq!(code(asked(PRESIGNED, THEN - 16 * 60)), "RequestTimeTooSkewed");
    for (from, to, expected) in [
        ("X-Amz-Expires=86400", "X-Amz-Expires=86401", "SignatureDoesNotMatch"),
        ("X-Amz-Expires=86400", "X-Amz-Expires=0", "AuthorizationQueryParametersError"),
        ("X-Amz-Expires=86400", "X-Amz-Expires=604801", "AuthorizationQueryParametersError"),
        ("X-Amz-Expires=86400", "X-Amz-Expires=x", "AuthorizationQueryParametersError"),
        ("/test.txt", "/test.txu", "SignatureDoesNotMatch"),
        ("&X-Amz-SignedHeaders=host", "&X-Amz-SignedHeaders=", "AuthorizationQueryParametersError"),
        ("&X-Amz-SignedHeaders=host", "&X-Amz-SignedHeaders=date", "AccessDenied"),
        ("=aeeed9", "=beeed9", "SignatureDoesNotMatch"),
        ("=aeeed9", "=eeed9", "SignatureDoesNotMatch"),
        ("%2Faws4_request", "", "AuthorizationQueryParametersError"),
        ("%2F20130524%2F", "%2F20130525%2F", "SignatureDoesNotMatch"),
        ("X-Amz-Date=20130524T000000Z", "X-Amz-Date=today", "AccessDenied"),
    ] {
        assert_eq!(code(asked(&PRESIGNED.replace(from, to), THEN)), expected, "{from} {to}");
    }
    let more = format!("{PRESIGNED}&response-content-type=text%2Fhtml");
    assert_eq!(code(asked(&more, THEN)), "SignatureDoesNotMatch", "all of a query is signed");
}

#[test]
fn all_that_is_signed_is_checked() {
    for (name, value) in [
        ("host", "other.s3.amazonaws.com"),
        ("range", "bytes=0-8"),
        ("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        ("x-amz-date", "20130524T000001Z"),
    ] {
        let mut other = get();
        other.headers.insert(name, HeaderValue::from_static(value));
        assert_eq!(code(ask(&other, Admission::Owner, THEN)), "SignatureDoesNotMatch", "{name}");
    }
    for uri in ["/test.tx", "/test.txt?a=b", "/Test.txt"] {
        let mut other = get();
        other.uri = uri.parse().expect("a URI");
        assert_eq!(code(ask(&other, Admission::Owner, THEN)), "SignatureDoesNotMatch", "{uri}");
    }
    let mut other = get();
    other.method = hyper::Method::HEAD;
    assert_eq!(code(ask(&other, Admission::Owner, THEN)), "SignatureDoesNotMatch");
    let mut unsigned = get();
    unsigned.headers.insert("accept", HeaderValue::from_static("*/*"));
    assert!(ask(&unsigned, Admission::Owner, THEN).is_ok(), "what isn't signed may be anything");
    let own = get().headers[AUTHORIZATION].to_str().expect("text").to_owned();
    for (from, to, expected) in [
        (",SignedHeaders", ", SignedHeaders", "ok"),
        (",Signature=", " ,  Signature=", "ok"),
        ("Signature=f0", "Signature=F0", "ok"),
        ("Signature=f0", "Signature=f1", "SignatureDoesNotMatch"),
        ("Signature=f0e8bdb8", "Signature=f0e8bdb", "SignatureDoesNotMatch"),
        (",Signature=f0", ",Signatur=f0", "AuthorizationHeaderMalformed"),
        ("SignedHeaders=host;", "SignedHeaders=", "AccessDenied"),
        ("/aws4_request", "", "AuthorizationHeaderMalformed"),
        ("/s3/", "/s4/", "SignatureDoesNotMatch"),
        ("us-east-1", "auto", "SignatureDoesNotMatch"),
    ] {
        let mut other = get();
        let value = own.replace(from, to);
        other.headers.insert(AUTHORIZATION, HeaderValue::from_str(&value).expect("a value"));
        let seen = ask(&other, Admission::Signed, THEN).map_or_else(|refusal| refusal.code, |_| "ok");
        assert_eq!(seen, expected, "{from} {to}");
    }
}

#[test]
fn clocks_may_differ_by_a_quarter_of_an_hour() {
    for minutes in [-14, 14] {
        assert!(ask(&get(), Admission::Signed, THEN + minutes * 60).is_ok(), "{minutes}");
    }
    for minutes in [-20, 20] {
        assert_eq!(
            code(ask(&get(), Admission::Owner, THEN + minutes * 60)),
            "RequestTimeTooSkewed",
            "{minutes}"
        );
    }
}

#[test]
fn other_keys_are_none_for_the_owner_and_refused_to_all_others() {
    let none = Keyring::none();
    assert!(matches!(ask_of(&none, &get(), Admission::Owner, THEN), Ok(Caller::Owner)));
    assert_eq!(code(ask_of(&none, &get(), Admission::Signed, THEN)), "InvalidAccessKeyId");
    let unsigned = head("GET", "/test.txt", &[("host", "x")]);
    assert!(matches!(ask(&unsigned, Admission::Owner, THEN), Ok(Caller::Owner)));
    assert_eq!(code(ask(&unsigned, Admission::Signed, THEN)), "AccessDenied");
    let bearer = head("GET", "/test.txt", &[("host", "x"), ("authorization", "Bearer x")]);
    assert!(matches!(ask(&bearer, Admission::Owner, THEN), Ok(Caller::Owner)));
}

#[test]
fn a_key_is_for_its_bucket_its_rights_and_its_time() {
    let ended = keyring(Access::ReadWrite, Some(THEN as u64));
    assert_eq!(code(ask_of(&ended, &get(), Admission::Owner, THEN)), "AccessDenied");
    let lasting = keyring(Access::ReadWrite, Some(THEN as u64 + 1));
    let caller = ask_of(&lasting, &get(), Admission::Owner, THEN).expect("it lasts");
    assert!(caller.check("examplebucket", true).is_ok());
    assert_eq!(caller.check("other", false).expect_err("another bucket").code, "AccessDenied");
    let looks = ask_of(&keyring(Access::ReadOnly, None), &get(), Admission::Owner, THEN).expect("right");
    assert!(looks.check("examplebucket", false).is_ok());
    assert_eq!(looks.check("examplebucket", true).expect_err("it may only read").code, "AccessDenied");
    assert!(!format!("{looks:?}").contains(SECRET));
}

/// AWS's example of a body in signed chunks, the seed of which is the signature of the request.
#[test]
fn the_published_chunks_are_verified_one_after_the_other() {
    use crate::protocol::s3::chunked::Decoder;
    let put = head(
        "PUT",
        "/examplebucket/chunkObject.txt",
        &[
            ("host", "s3.amazonaws.com"),
            ("x-amz-date", "20130524T000000Z"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
            ("content-encoding", "aws-chunked"),
            ("x-amz-decoded-content-length", "66560"),
            ("content-length", "66824"),
            (
                "authorization",
                &authorization(
                    "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;\
                     x-amz-storage-class",
                    "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
                ),
            ),
        ],
    );
    let Ok(Caller::Key(signed)) = ask(&put, Admission::Signed, THEN) else { panic!("the seed is wrong") };
    let body = [
        &b"10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n"[..],
        &[b'a'; 65_536],
        b"\r\n400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n",
        &[b'a'; 1024],
        b"\r\n0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n",
    ]
    .concat();
    assert_eq!(body.len(), 66_824);
    let decode = |body: &[u8]| {
        let (mut decoder, mut out) = (Decoder::new(Some(signed.seed.clone())), Vec::new());
        for piece in body.chunks(10_000) {
            decoder.feed(bytes::Bytes::copy_from_slice(piece), &mut out).map_err(|refusal| refusal.code)?;
        }
        decoder.finish().map(|(decoded, _)| decoded).map_err(|refusal| refusal.code)
    };
    assert_eq!(decode(&body), Ok(66_560));
    for at in [100, 65_700, 66_700, 66_790] {
        let mut lying = body.clone();
        lying[at] = if lying[at] == b'a' { b'b' } else { b'a' };
        assert!(decode(&lying).is_err(), "{at}");
    }
    let unsigned = [&b"1\r\na\r\n0\r\n\r\n"[..]].concat();
    assert_eq!(decode(&unsigned), Err("SignatureDoesNotMatch"));
}
