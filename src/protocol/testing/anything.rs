//! Whatever is asked, the answer is one of the dialect's, never a fault.

use proptest::prelude::*;

use super::*;

fn segment() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("blob".to_owned()),
        Just("ccache".into()),
        Just("maven".into()),
        Just("v1.2".into()),
        Just("ab".into()),
        "[a-z0-9]{31}",
        "[a-f0-9]{40}",
        Just("ns".into()),
        Just("cas".into()),
        Just("ac".into()),
        Just("v8".into()),
        Just("v1".into()),
        Just("cache".into()),
        Just("gradle".into()),
        Just("18446744073709551615".into()),
        Just("0123456789abcdef0123456789abcdef".into()),
        Just("artifacts".into()),
        Just("events".into()),
        Just("status".into()),
        Just("0123456789abcdef".into()),
        Just("2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae".into()),
        Just("%2e%2e".into()),
        Just("%00".into()),
        "[a-zA-Z0-9._~-]{1,20}",
    ]
}

fn header() -> impl Strategy<Value = (&'static str, String)> {
    let name = proptest::sample::select(vec![
        "range",
        "if-range",
        "if-match",
        "if-none-match",
        "if-modified-since",
        "if-unmodified-since",
        "accept",
        "content-type",
        "content-encoding",
        "content-range",
        "expect",
        "x-artifact-duration",
        "x-artifact-tag",
    ]);
    let value = prop_oneof![
        Just("*".to_owned()),
        Just("\"x\", W/\"y\"".into()),
        Just("application/json".into()),
        Just("Sun, 06 Nov 1994 08:49:37 GMT".into()),
        "bytes=[0-9]{0,3}-[0-9]{0,3}",
        "[ -~]{0,20}",
    ];
    (name, value)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_request_is_answered_with_a_fault(
        requests in proptest::collection::vec(
            (
                proptest::sample::select(vec!["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "BREW"]),
                proptest::collection::vec(segment(), 1..8),
                prop_oneof![Just(""), Just("?slug=t"), Just("?teamId=%00"), Just("?&=&slug")],
                proptest::collection::vec(header(), 0..4),
                proptest::sample::select(vec![
                    &b""[..],
                    b"foo",
                    b"{\"hashes\":[\"a\"]}",
                    b"\x20\x01",
                    b"\x1f\x8b\x08\0 and so on, but no more gzip",
                ]),
            ),
            1..20,
        ),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let desk = Desk::new();
            for (method, segments, query, headers, body) in requests {
                let mut request =
                    Request::builder().method(method).uri(format!("/{}{query}", segments.join("/")));
                for (name, value) in headers {
                    request = request.header(name, value);
                }
                let request = request.body(Full::new(Bytes::from_static(body))).expect("a request");
                let what = format!("{request:?}");
                let Some(answer) = desk.answer(request).await else { continue };
                assert!(answer.status().as_u16() < 500, "{what}: {answer:?}");
                let (head, answer) = answer.into_parts();
                let answer = answer.collect().await.expect("a whole body").to_bytes();
                assert!(method != "HEAD" || answer.is_empty(), "{what}: {head:?}");
                assert!(!head.status.is_client_error() || method == "HEAD" || !answer.is_empty(), "{what}: {head:?}");
            }
        });
    }
}
