//! What stores answer, and what is made of it.

use super::*;

fn own(status: u16, code: &str) -> Answer {
    Answer { status, own: true, ..Answer::default() }
        .with_error(format!("<Error><Code>{code}</Code><Message>Words.</Message></Error>").as_bytes())
}

fn signal(status: u16, code: &str, call: Call) -> Signal {
    own(status, code).fault(call).signal
}

#[test]
fn only_the_object_itself_is_refused_for_good() {
    for (status, code) in [
        (400, "EntityTooLarge"),
        (400, "InvalidArgument"),
        (413, "EntityTooLarge"),
        (413, "RequestBodyTooLarge"),
        (400, "MetadataTooLarge"),
        (400, "OutOfRangeInput"),
    ] {
        let fault = own(status, code).fault(Call::Put);
        assert!(matches!(&fault.failure, Failure::Refused(words) if words.starts_with(code)), "{fault:?}");
        assert_eq!(fault.signal, Signal::Success);
    }
    for (status, code, call) in [
        (400, "ExpiredToken", Call::Put),
        (400, "RequestTimeout", Call::Put),
        (400, "BadDigest", Call::Put),
        (400, "InvalidRequest", Call::Put),
        (400, "AuthorizationHeaderMalformed", Call::Put),
        (401, "Unauthorized", Call::Put),
        (403, "AccessDenied", Call::Put),
        (404, "NoSuchBucket", Call::Put),
        (405, "MethodNotAllowed", Call::Put),
        (407, "", Call::Put),
        (409, "OperationAborted", Call::Put),
        (500, "InternalError", Call::Put),
        (503, "ServiceUnavailable", Call::Put),
        (400, "InvalidArgument", Call::Get),
        (400, "InvalidBlockList", Call::Put),
        (400, "Md5Mismatch", Call::Put),
        (400, "InvalidAuthenticationInfo", Call::Put),
        (403, "AuthenticationFailed", Call::Put),
        (404, "ContainerNotFound", Call::Put),
        (409, "ContainerBeingDeleted", Call::Put),
        (409, "BlobImmutableDueToPolicy", Call::Put),
        (412, "LeaseIdMissing", Call::Put),
    ] {
        let fault = own(status, code).fault(call);
        assert!(matches!(fault.failure, Failure::State(_)), "{status} {code}: {fault:?}");
    }
    let proxy = Answer { status: 413, ..Answer::default() }.fault(Call::Put);
    assert!(matches!(proxy.failure, Failure::State(_)), "a proxy's limit is not the store's");
}

#[test]
fn signals() {
    for (status, code, call, expected) in [
        (400, "ExpiredToken", Call::Get, Signal::Denied),
        (403, "InvalidAccessKeyId", Call::Get, Signal::Denied),
        (403, "SignatureDoesNotMatch", Call::List, Signal::Denied),
        (403, "RequestTimeTooSkewed", Call::Get, Signal::Denied),
        (403, "AccessDenied", Call::Put, Signal::Denied),
        (403, "AccessDenied", Call::List, Signal::Neutral),
        (403, "AccessDenied", Call::Delete, Signal::Neutral),
        (404, "NoSuchBucket", Call::Get, Signal::Denied),
        (301, "PermanentRedirect", Call::Get, Signal::Denied),
        (429, "", Call::Get, Signal::Neutral),
        (503, "SlowDown", Call::Put, Signal::Neutral),
        (503, "ServiceUnavailable", Call::Put, Signal::Fault),
        (500, "InternalError", Call::Get, Signal::Fault),
        (501, "NotImplemented", Call::Put, Signal::Neutral),
        (403, "AuthenticationFailed", Call::Get, Signal::Denied),
        (403, "AuthorizationFailure", Call::Delete, Signal::Denied),
        (403, "AuthorizationPermissionMismatch", Call::Get, Signal::Denied),
        (403, "AuthorizationPermissionMismatch", Call::Put, Signal::Denied),
        (403, "AuthorizationPermissionMismatch", Call::List, Signal::Neutral),
        (403, "AuthorizationPermissionMismatch", Call::Delete, Signal::Neutral),
        (409, "PublicAccessNotPermitted", Call::Get, Signal::Denied),
        (404, "ContainerNotFound", Call::Get, Signal::Denied),
        (404, "ResourceNotFound", Call::Get, Signal::Denied),
        (503, "ServerBusy", Call::Put, Signal::Neutral),
        (500, "OperationTimedOut", Call::Get, Signal::Fault),
        (401, "AuthenticationRequired", Call::Get, Signal::Denied),
        (400, "UserProjectMissing", Call::Put, Signal::Denied),
    ] {
        assert_eq!(signal(status, code, call), expected, "{status} {code} {call:?}");
    }
}

#[test]
fn words_name_the_code_and_the_remedy() {
    let fault = own(400, "ExpiredToken").fault(Call::Put);
    assert_eq!(
        fault.failure.to_string(),
        "ExpiredToken: Words; renew the keys; a changed credentials file is read by itself"
    );
    let portal = Answer { status: 200, content_type: Some("text/html".into()), ..Answer::default() };
    assert!(
        portal.fault(Call::Get).failure.to_string().starts_with("HTTP 200 with text/html; not the store's")
    );
}

fn head(status: u16, headers: &[(&'static str, &'static str)]) -> Answer {
    let mut response = HttpResponse::new(bytes::Bytes::new().into());
    *response.status_mut() = status.try_into().unwrap();
    for (name, value) in headers {
        response.headers_mut().append(*name, object_store::HeaderValue::from_static(value));
    }
    Answer::of(&response)
}

#[test]
fn azure_says_in_the_head_of_an_answer_what_it_is_about() {
    let absent = head(404, &[("x-ms-error-code", "BlobNotFound")]);
    assert!(absent.own && absent.is_absent() && absent.says_why());
    assert!(!head(404, &[("x-ms-error-code", "ContainerNotFound")]).is_absent());
    assert!(head(201, &[("x-ms-request-id", "1")]).own);
    assert!(!head(200, &[("x-ms-request-id", "1"), ("content-type", "text/html")]).own, "a login page");
    let blob = head(
        206,
        &[
            ("x-ms-version", "2023-11-03"),
            ("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg=="),
            ("x-ms-meta-larderlen", "6"),
            ("x-ms-meta-with-dash", "6"),
        ],
    );
    assert_eq!(blob.meta.stated.md5, None, "a part's");
    assert_eq!(blob.meta.attrs.get("larderlen"), Some("6"));
    assert_eq!(blob.meta.attrs.user(), [("with-dash".to_owned(), "6".to_owned())]);
    let blob = head(206, &[("x-ms-blob-content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")]);
    assert_eq!(blob.meta.stated.md5.map(|md5| md5[0]), Some(0xd4), "the whole's");
}

#[test]
fn a_sas_that_is_over_is_told_from_a_wrong_key() {
    let body = b"<Error><Code>AuthenticationFailed</Code><Message>Server failed.\nRequestId:1</Message>\
                 <AuthenticationErrorDetail>Signature not valid in the specified time frame: Start [\
                 ]</AuthenticationErrorDetail></Error>";
    let fault = Answer { status: 403, own: true, ..Answer::default() }.with_error(body).fault(Call::Get);
    assert_eq!(
        fault.failure.to_string(),
        "AuthenticationFailed (expired): Server failed; renew the SAS, or set this machine's clock; a changed \
         credentials file is read by itself"
    );
    assert_eq!(fault.signal, Signal::Denied);
}

#[test]
fn google_states_what_is_stored() {
    let hash = ("x-goog-hash", "crc32c=4waSgw==,md5=1B2M2Y8AsgTpgAmY7PhCfg==");
    let stated = head(200, &[hash]).meta.stated;
    assert_eq!((stated.crc32c, stated.md5.map(|md5| md5[0])), (Some(0xe306_9283), Some(0xd4)));
    let two =
        head(200, &[("x-goog-hash", "crc32c=4waSgw=="), ("x-goog-hash", "md5=1B2M2Y8AsgTpgAmY7PhCfg==")]);
    assert_eq!(two.meta.stated, stated);
    let packed = head(200, &[hash, ("x-goog-stored-content-encoding", "gzip")]);
    assert_eq!(packed.meta.stated, Stated::default());
    assert!(head(404, &[("x-guploader-uploadid", "1")]).is_absent());
}

#[test]
fn a_missing_bucket_is_not_an_absent_object() {
    assert!(own(404, "NoSuchKey").is_absent());
    assert!(!own(404, "NoSuchBucket").is_absent());
    assert!(!Answer { status: 404, ..Answer::default() }.with_error(b"<html>not found</html>").is_absent());
}

#[test]
fn checksums_are_parsed_strictly() {
    assert_eq!(base64::<4>("4waSgw=="), Some(0xe306_9283_u32.to_be_bytes()));
    assert_eq!(base64::<16>("1B2M2Y8AsgTpgAmY7PhCfg==").map(|md5| md5[0]), Some(0xd4));
    for bad in ["", "4waSgw==-3", "4waSg", "4waS!w==", "1B2M2Y8AsgTpgAmY7PhCfg=="] {
        assert_eq!(base64::<4>(bad), None, "{bad}");
    }
    assert!(md5_of_hex("d41d8cd98f00b204e9800998ecf8427e").is_some());
    assert!(md5_of_hex("d41d8cd98f00b204e9800998ecf8427e-2").is_none());
}

#[test]
fn xml_is_read_as_far_as_needed() {
    assert_eq!(element("<a><Code> x&amp;lt;y </Code></a>", "Code").as_deref(), Some("x&lt;y"));
    assert_eq!(element("<Code>x", "Code"), None);
}

#[test]
fn what_others_attached_is_kept_under_whatever_name() {
    let answer = head(
        200,
        &[
            ("x-amz-meta-outputid", "1"),
            ("x-amz-meta-a-b", "2"),
            ("x-amz-meta-larderetag", "3"),
            ("content-encoding", "gzip"),
        ],
    );
    let attrs = answer.meta.attrs;
    assert_eq!(attrs.get("contentencoding"), Some("gzip"));
    assert_eq!(attrs.get("larderetag"), Some("3"));
    assert_eq!(attrs.user(), [("a-b".into(), "2".into()), ("outputid".into(), "1".into())]);
}
