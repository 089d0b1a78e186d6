//! Shared access signatures of an account, a container or a blob, signed with a key that Larder issued.
//!
//! What a signature narrows in ways that can't be seen from here (an address, https alone) is refused rather than
//! looked over. Those of a user's delegation key are Azure's own and can't be verified.

use chrono::{DateTime, NaiveDate, NaiveDateTime};

use super::{ACCOUNT, Asked, Rights, signer};
use crate::keyring::Grant;
use crate::protocol::azure::refusal::Refusal;

/// From these on a field more is signed.
const WITH_SNAPSHOT: &str = "2018-11-09";
const WITH_SCOPE: &str = "2020-12-06";

pub(super) fn rights(grants: &[Grant], asked: &Asked<'_>, now: u64) -> Result<Rights, Refusal> {
    let query = asked.query;
    if query.get("skoid").is_some() {
        return Err(Refusal::unauthenticated(
            "a user delegation SAS can't be verified here; take one of an account key",
        ));
    }
    let is_account = is_account(asked);
    let text = signed_text(asked)?;
    let grant = signer(grants, query.text("sig"), &text, now)?;
    check_times(asked, now)?;
    if !query.text("sip").is_empty() {
        let words = "a SAS for some addresses only (`sip`) is not taken here; leave it out";
        return Err(Refusal::denied("AuthorizationSourceIPMismatch", words));
    }
    if query.get("spr") == Some("https") {
        let words = "the SAS is for https alone, and this is http; sign it with `spr=https,http` or without";
        return Err(Refusal::denied("AuthorizationProtocolMismatch", words));
    }
    if is_account {
        check_reach(asked)?;
    }
    let permissions = query.text("sp");
    let has = |letter| permissions.contains(letter);
    let stated = Rights {
        read: has('r'),
        create: has('c') || has('w'),
        write: has('w'),
        delete: has('d'),
        list: has('l'),
    };
    Ok(stated.and(Rights::of(grant.access)))
}

fn is_account(asked: &Asked<'_>) -> bool {
    asked.query.get("ss").is_some() || asked.query.get("srt").is_some()
}

/// What the signature is of.
pub(super) fn signed_text(asked: &Asked<'_>) -> Result<String, Refusal> {
    if is_account(asked) { Ok(account(asked)) } else { service(asked) }
}

/// What an account SAS signs.
fn account(asked: &Asked<'_>) -> String {
    let field = |name| asked.query.text(name);
    let mut lines = vec![ACCOUNT];
    lines.extend(["sp", "ss", "srt", "st", "se", "sip", "spr", "sv"].map(field));
    if field("sv") >= WITH_SCOPE {
        lines.push(field("ses"));
    }
    lines.join("\n") + "\n"
}

/// What a SAS of a container or a blob signs.
fn service(asked: &Asked<'_>) -> Result<String, Refusal> {
    let field = |name| asked.query.text(name);
    let container = asked.container.unwrap_or_default();
    let resource = match (field("sr"), asked.blob) {
        ("c", _) => format!("/blob/{ACCOUNT}/{container}"),
        ("b", Some(blob)) => format!("/blob/{ACCOUNT}/{container}/{blob}"),
        ("b", None) => {
            return Err(Refusal::denied("AuthorizationResourceTypeMismatch", "the SAS is of one blob"));
        }
        _ => {
            let words =
                "the SAS names neither a container nor a blob (`sr=c`, `sr=b`), and is none of an account";
            return Err(Refusal::unauthenticated(words));
        }
    };
    if !field("si").is_empty() {
        return Err(Refusal::unauthenticated(
            "there are no stored access policies here (`si`); leave it out",
        ));
    }
    let sv = field("sv");
    let mut lines = ["sp", "st", "se"].map(field).to_vec();
    lines.push(&resource);
    lines.extend(["si", "sip", "spr", "sv"].map(field));
    if sv >= WITH_SNAPSHOT {
        lines.extend([field("sr"), field("snapshot")]);
    }
    if sv >= WITH_SCOPE {
        lines.push(field("ses"));
    }
    lines.extend(["rscc", "rscd", "rsce", "rscl", "rsct"].map(field));
    Ok(lines.join("\n"))
}

fn check_times(asked: &Asked<'_>, now: u64) -> Result<(), Refusal> {
    let time = |name| match asked.query.text(name) {
        "" => Ok(None),
        text => match seconds(text) {
            Some(time) => Ok(Some(time)),
            None => {
                Err(Refusal::unauthenticated(format!("`{name}` of the SAS is not a time as ISO 8601 has it")))
            }
        },
    };
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    if time("st")?.is_some_and(|start| start > now) {
        return Err(Refusal::unauthenticated("the SAS is not valid yet (`st`)"));
    }
    match time("se")? {
        None => Err(Refusal::unauthenticated("the SAS has no end (`se`)")),
        Some(end) if end <= now => Err(Refusal::unauthenticated("the SAS has expired (`se`)")),
        Some(_) => Ok(()),
    }
}

/// An account SAS says which services and which levels it is for.
fn check_reach(asked: &Asked<'_>) -> Result<(), Refusal> {
    if !asked.query.text("ss").contains('b') {
        let words = "the SAS is not for blobs (`ss`)";
        return Err(Refusal::denied("AuthorizationServiceMismatch", words));
    }
    let level = match (asked.container, asked.blob) {
        (_, Some(_)) => 'o',
        (Some(_), None) => 'c',
        (None, None) => 's',
    };
    if !asked.query.text("srt").contains(level) {
        let words = format!("the SAS is not for this level: `srt` lacks `{level}`");
        return Err(Refusal::denied("AuthorizationResourceTypeMismatch", words));
    }
    Ok(())
}

/// A day, or a time in UTC or with its zone; without a zone it is UTC's.
fn seconds(text: &str) -> Option<i64> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.timestamp());
    }
    let text = text.trim_end_matches('Z');
    let forms = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"];
    let time = forms.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
    let day = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0);
    Some(time.or_else(day)?.and_utc().timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_form_of_the_sdks() {
        for (text, expected) in [
            ("2026-01-01T00:00:00Z", Some(1_767_225_600)),
            ("2026-01-01T00:00:00.1234567Z", Some(1_767_225_600)),
            ("2026-01-01T00:00Z", Some(1_767_225_600)),
            ("2026-01-01T01:00:00+01:00", Some(1_767_225_600)),
            ("2026-01-01", Some(1_767_225_600)),
            ("2026-13-01", None),
            ("tomorrow", None),
            ("", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }
}
