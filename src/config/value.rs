//! Values as people write them: sizes, durations, percentages, words, lists.
//!
//! Each returns what is wrong in words that complete "`key`: …".

use std::time::Duration;

use toml::Value;

use crate::server;

/// `"10 GiB"`, `"512 MiB"`, `"100 kB"`, or a number of bytes.
pub(super) fn size(value: &Value) -> Result<u64, String> {
    match value {
        Value::Integer(bytes) => u64::try_from(*bytes).map_err(|_| "a size can't be negative".into()),
        Value::String(text) => parse_size(text),
        _ => Err("is not a size, as in \"10 GiB\"".into()),
    }
}

/// `"500 ms"`, `"1.5 s"`, `"15 min"`, `"3 h"`, `"7 d"`.
pub(super) fn duration(value: &Value) -> Result<Duration, String> {
    match value {
        Value::String(text) => parse_duration(text),
        _ => Err("is not a duration with its unit, as in \"1.5 s\"".into()),
    }
}

/// A count of at least 1.
pub(super) fn count(value: &Value) -> Result<u64, String> {
    match value {
        Value::Integer(count) if *count > 0 => Ok(count.unsigned_abs()),
        _ => Err("is not a number of at least 1".into()),
    }
}

/// `"2 %"`, or a whole number of percent.
pub(super) fn percent(value: &Value) -> Result<u8, String> {
    let number = match value {
        Value::Integer(number) => u8::try_from(*number).ok(),
        Value::String(text) => text.strip_suffix('%').and_then(|number| number.trim().parse().ok()),
        _ => None,
    };
    number.filter(|percent| *percent <= 100).ok_or_else(|| "is not a percentage, as in \"2 %\"".into())
}

/// A text.
pub(super) fn text(value: &Value) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| "is not a text in quotes".into())
}

/// The place of a word among those that are known.
pub(super) fn one_of(value: &Value, words: &[&str]) -> Result<usize, String> {
    value.as_str().and_then(|word| words.iter().position(|known| *known == word)).ok_or_else(|| {
        let known: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        format!("is not one of {}", known.join(", "))
    })
}

/// `true` or `false`.
pub(super) fn truth(value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| "is neither true nor false".into())
}

/// A list of texts; one alone needs no brackets.
pub(super) fn texts(value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Array(values) => values.iter().map(text).collect(),
        _ => Err("is not a list of texts".into()),
    }
}

/// A list of users, by id or name, and of groups, by either behind an `@`: the ids of both.
pub(super) fn users(value: &Value) -> Result<(Vec<u32>, Vec<u32>), String> {
    let Value::Array(values) = value else { return Err("is not a list of users".into()) };
    let (mut users, mut groups) = (Vec::new(), Vec::new());
    for value in values {
        match value.as_str().and_then(|text| text.strip_prefix('@')) {
            Some(name) => groups.push(group(name)?),
            None => users.push(user(value)?),
        }
    }
    Ok((users, groups))
}

fn user(value: &Value) -> Result<u32, String> {
    match value {
        Value::Integer(uid) => u32::try_from(*uid).map_err(|_| format!("{uid} is not a user id")),
        Value::String(name) => server::user_id(name).ok_or_else(|| {
            format!("`{name}` is not a user of this machine; give the number that `id -u` prints, or @ and a group")
        }),
        _ => Err("a user is a name or a number".into()),
    }
}

fn group(name: &str) -> Result<u32, String> {
    if let Ok(gid) = name.parse() {
        return Ok(gid);
    }
    server::group_id(name).ok_or_else(|| {
        format!("`@{name}` is not a group of this machine; `getent group` lists those that there are")
    })
}

fn parse_size(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 11] = [
        ("", 1),
        ("b", 1),
        ("kb", 1000),
        ("mb", 1000 * 1000),
        ("gb", 1000 * 1000 * 1000),
        ("tb", 1000 * 1000 * 1000 * 1000),
        ("k", 1 << 10),
        ("kib", 1 << 10),
        ("mib", 1 << 20),
        ("gib", 1 << 30),
        ("tib", 1 << 40),
    ];
    let wrong = || format!("`{text}` is not a size, as in \"10 GiB\"");
    let (number, unit) = split_unit(text).ok_or_else(wrong)?;
    let unit = unit.to_ascii_lowercase();
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    let bytes = number * *factor as f64;
    if bytes > i64::MAX as f64 {
        Err(format!("`{text}` is more than any disk has"))
    } else {
        Ok(bytes as u64)
    }
}

/// A duration from text: what the file and the command line share.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, f64); 12] = [
        ("ms", 0.001),
        ("s", 1.0),
        ("sec", 1.0),
        ("m", 60.0),
        ("min", 60.0),
        ("h", 3600.0),
        ("hour", 3600.0),
        ("hours", 3600.0),
        ("d", 86400.0),
        ("day", 86400.0),
        ("days", 86400.0),
        ("us", 0.000_001),
    ];
    let wrong = || format!("`{text}` is not a duration, as in \"1.5 s\" or \"15 min\"");
    let (number, unit) = split_unit(text).ok_or_else(wrong)?;
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    let seconds = number * factor;
    // A hundred years: longer ones overflow clocks, and mean "never", which no bound may be.
    if seconds > 3.2e9 { Err(format!("`{text}` is too long")) } else { Ok(Duration::from_secs_f64(seconds)) }
}

fn split_unit(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(text.len());
    let number: f64 = text[..end].replace('_', "").parse().ok()?;
    number.is_finite().then(|| (number, text[end..].trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("10 GiB", 10 << 30),
            ("10GiB", 10 << 30),
            ("1.5 kib", 1536),
            ("100 kB", 100_000),
            ("7", 7),
            ("1_000", 1000),
            ("0", 0),
        ] {
            assert_eq!(size(&Value::String(text.into())), Ok(bytes), "{text}");
        }
        assert_eq!(size(&Value::Integer(12)), Ok(12));
        for bad in ["", "GiB", "10 apples", "-1", "1e3", "9999999999 TiB"] {
            assert!(size(&Value::String(bad.into())).is_err(), "{bad}");
        }
        assert!(size(&Value::Integer(-1)).is_err());
        assert!(size(&Value::Boolean(true)).is_err());
    }

    #[test]
    fn durations_have_units() {
        for (text, millis) in [
            ("1.5 s", 1500),
            ("500ms", 500),
            ("15 min", 900_000),
            ("3 h", 10_800_000),
            ("7 days", 604_800_000),
        ] {
            assert_eq!(duration(&Value::String(text.into())), Ok(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["5", "", "s", "1 fortnight", "99999999999 d"] {
            assert!(duration(&Value::String(bad.into())).is_err(), "{bad}");
        }
        assert!(duration(&Value::Integer(5)).is_err());
    }

    #[test]
    fn percentages_and_users() {
        assert_eq!(percent(&Value::String("2 %".into())), Ok(2));
        assert_eq!(percent(&Value::Integer(5)), Ok(5));
        assert!(percent(&Value::Integer(101)).is_err());
        let list = |value: Value| Value::Array(vec![value]);
        let text = |text: &str| Value::String(text.into());
        assert_eq!(users(&list(Value::Integer(1000))), Ok((vec![1000], vec![])));
        assert_eq!(users(&list(text("root"))), Ok((vec![0], vec![])));
        assert_eq!(users(&list(text("@1002"))), Ok((vec![], vec![1002])));
        let daemon = server::group_id("daemon").expect("every system has it");
        let both = Value::Array(vec![text("@daemon"), text("root")]);
        assert_eq!(users(&both), Ok((vec![0], vec![daemon])));
        for (bad, word) in
            [("nobody-of-that-name", "id -u"), ("@none-of-that-name", "getent group"), ("@", "`@`")]
        {
            let words = users(&list(text(bad))).expect_err(bad);
            assert!(words.contains(word), "{words}");
        }
    }
}
