//! `Authorization: SharedKey {account}:{signature}`, as of 2015-02-21.

use std::fmt::Write as _;

use hyper::header::{
    CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderMap, HeaderName, IF_MATCH,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE, RANGE,
};

use super::{ACCOUNT, Asked, Rights, SKEW_SECONDS, signer};
use crate::keyring::Grant;
use crate::protocol::azure::refusal::Refusal;

/// Headers that have a line each, in this order.
const LINES: [HeaderName; 11] = [
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_LENGTH,
    HeaderName::from_static("content-md5"),
    CONTENT_TYPE,
    DATE,
    IF_MODIFIED_SINCE,
    IF_MATCH,
    IF_NONE_MATCH,
    IF_UNMODIFIED_SINCE,
    RANGE,
];

pub(super) fn rights(
    grants: &[Grant],
    credentials: &str,
    asked: &Asked<'_>,
    now: u64,
) -> Result<Rights, Refusal> {
    let Some((account, signature)) = credentials.split_once(':') else {
        return Err(Refusal::unauthenticated("Authorization is not `SharedKey account:signature`"));
    };
    if account != ACCOUNT {
        let words = format!("the account is `{ACCOUNT}`, not `{}`", account.escape_debug());
        return Err(Refusal::unauthenticated(words));
    }
    let grant = signer(grants, signature.trim(), &string_to_sign(asked), now)?;
    check_clock(asked.headers, now)?;
    Ok(Rights::of(grant.access))
}

fn check_clock(headers: &HeaderMap, now: u64) -> Result<(), Refusal> {
    let date = headers.get("x-ms-date").or_else(|| headers.get(DATE));
    let date = date.and_then(|value| httpdate::parse_http_date(value.to_str().ok()?).ok());
    let since = date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok());
    match since {
        None => Err(Refusal::unauthenticated("the request needs an x-ms-date: its time, as HTTP has it")),
        Some(since) if since.as_secs().abs_diff(now) > SKEW_SECONDS => Err(Refusal::unauthenticated(
            "the request's x-ms-date is over 15 minutes away from this machine's clock; set the clock",
        )),
        Some(_) => Ok(()),
    }
}

pub(super) fn string_to_sign(asked: &Asked<'_>) -> String {
    let mut text = format!("{}\n", asked.method);
    let value = |name: &HeaderName| asked.headers.get(name).map_or(&[][..], |value| value.as_bytes());
    for name in &LINES {
        let value = value(name);
        let is_no_length = *name == CONTENT_LENGTH && value == b"0";
        text.push_str(&String::from_utf8_lossy(if is_no_length { b"" } else { value }));
        text.push('\n');
    }
    let mut own: Vec<(&str, String)> = asked
        .headers
        .keys()
        .filter(|name| name.as_str().starts_with("x-ms-"))
        .map(|name| {
            let values =
                asked.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
            let values: Vec<String> = values.map(|value| folded(&value)).collect();
            (name.as_str(), values.join(","))
        })
        .collect();
    own.sort();
    for (name, value) in own {
        // A text takes whatever is written.
        let _ = writeln!(text, "{name}:{value}");
    }
    let _ = write!(text, "/{ACCOUNT}{}", asked.path);
    let lower = |(name, value): &(String, String)| (name.to_lowercase(), value.clone());
    let mut parameters: Vec<(String, String)> = asked.query.pairs().iter().map(lower).collect();
    parameters.sort();
    let mut last = None;
    for (name, value) in parameters {
        let same = last.as_ref() == Some(&name);
        let _ = if same { write!(text, ",{value}") } else { write!(text, "\n{name}:{value}") };
        last = Some(name);
    }
    text
}

/// White space around and line breaks within a value are none.
fn folded(value: &str) -> String {
    value.split(['\r', '\n']).map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned()
}
