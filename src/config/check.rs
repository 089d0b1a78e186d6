//! `larder check`: the effective configuration as a file, each value with where it was said, what is secret masked.

use std::fmt::Write as _;
use std::path::Path;

use toml::Value;

use super::file::Reading;
use super::keys::{Doc, Kind, LISTENERS, NAMESPACES, TABLES, TOP, UPSTREAMS, Unset};
use super::section::{Said, Section};
use super::{Config, Environment, Flags, Folders, Problem};
use crate::cache;

/// Where the source of a value begins.
const COLUMN: usize = 50;

/// The configuration in force, in words.
///
/// # Errors
/// All problems.
pub fn check(flags: &Flags, environment: &Environment) -> Result<String, Vec<Problem>> {
    let (said, config) = Config::read(flags, environment, Reading::First);
    let default = Folders::config(&super::of_system(flags, environment));
    config.and_then(|config| {
        let expired = expired(&said, &config);
        if expired.is_empty() { Ok(show(&said, &config, default.as_deref())) } else { Err(expired) }
    })
}

/// The certificates that have expired. The daemon starts with them, and says so: it may be the one way to reach it.
fn expired(said: &Said, config: &Config) -> Vec<Problem> {
    // The listeners of the tables are the last.
    let tables = config.listen.iter().rev().zip(said.listeners.iter().rev());
    let mut problems: Vec<Problem> = tables
        .filter_map(|(wanted, section)| {
            Some(section.problem("certificate", wanted.tls.as_ref()?.material.expired()?))
        })
        .collect();
    problems.reverse();
    problems
}

fn show(said: &Said, config: &Config, default: Option<&Path>) -> String {
    let mut page = String::new();
    for key in TOP {
        line(&mut page, &key.doc, &said.top);
    }
    let docs = |table: &str| -> Vec<Doc> {
        match table {
            "upstreams" => UPSTREAMS.iter().map(|key| key.doc).collect(),
            "namespaces" => NAMESPACES.iter().map(|key| key.doc).collect(),
            _ => LISTENERS.iter().map(|key| key.doc).collect(),
        }
    };
    for (table, sections) in TABLES.iter().zip([&said.upstreams, &said.namespaces, &said.listeners]) {
        for section in sections {
            let head = match table.name {
                "listeners" => "[[listeners]]".to_owned(),
                _ => format!("[{}]", section.path.trim_end_matches('.')),
            };
            let _ = writeln!(page, "\n{head:COLUMN$} # {}", section.source);
            if let ("upstreams", Some(words)) = (table.name, config.routes.idle.get(&section.name)) {
                let _ = writeln!(page, "# {words}");
            }
            for doc in docs(table.name) {
                line(&mut page, &doc, section);
            }
        }
    }
    let folders = &config.folders;
    let file = match (&config.file, default) {
        (Some(file), _) => file.display().to_string(),
        (None, Some(file)) => format!("none; {} would be read if it were there", file.display()),
        (None, None) => "none".to_owned(),
    };
    let _ = write!(
        page,
        "\n# file: {file}\n# cache: {}\n# state: {}\n# admin socket: {}\n",
        folders.cache.display(),
        folders.state.display(),
        folders.socket.display()
    );
    constants(&mut page);
    page
}

fn line(page: &mut String, doc: &Doc, section: &Section) {
    let note = if doc.at_start { "; counts from the next start on" } else { "" };
    // Writing to a text can't fail.
    let _ = match (section.find(doc.name), doc.unset) {
        (Some(said), _) => {
            let pair = format!("{} = {}", doc.name, masked(doc.kind, &said.value));
            writeln!(page, "{pair:COLUMN$} # {}{note}", said.source)
        }
        (None, Unset::Is(value)) => {
            let pair = format!("{} = {value}", doc.name);
            writeln!(page, "{pair:COLUMN$} # default")
        }
        (None, Unset::Follows(words, _)) => {
            let pair = format!("# {}: {words}", doc.name);
            writeln!(page, "{pair:COLUMN$} # default")
        }
        (None, Unset::Needed(_)) => Ok(()),
    };
}

/// The value as the file has it. A URL loses what could be a secret, should a kind of upstream ever take one there.
fn masked(kind: Kind, value: &Value) -> String {
    match (kind, value.as_str()) {
        (Kind::Url, Some(url)) => Value::from(mask(url)).to_string(),
        _ => value.to_string(),
    }
}

fn mask(url: &str) -> String {
    const SECRET: [&str; 7] = ["key", "secret", "token", "password", "sig", "sas", "connection"];
    let (place, query) = url.split_once('?').unwrap_or((url, ""));
    let place = match (place.split_once("://"), place.rfind('@')) {
        (Some((scheme, _)), Some(at)) => format!("{scheme}://…{}", &place[at..]),
        _ => place.to_owned(),
    };
    let options: Vec<String> = query
        .split('&')
        .filter(|option| !option.is_empty())
        .map(|option| {
            let name = option.split('=').next().unwrap_or_default();
            let is_secret = SECRET.iter().any(|word| name.to_ascii_lowercase().contains(word));
            if is_secret { format!("{name}=…") } else { option.to_owned() }
        })
        .collect();
    let separator = if options.is_empty() { "" } else { "?" };
    format!("{place}{separator}{}", options.join("&"))
}

/// Numbers that are not to be set.
fn constants(page: &mut String) {
    let cache = cache::Settings::default();
    let numbers: [(&str, u64, &str); 8] = [
        ("inline_max", cache.inline_max, "bytes: up to here a body is one record"),
        ("withheld", cache.withheld, "bytes held back until a digest agrees"),
        ("range_ahead", cache.range_ahead, "bytes: a range further past a fill is a request of its own"),
        ("finish_below", cache.finish_below, "bytes: with less to come a fill without readers goes on"),
        ("links_at_once", cache.links_at_once as u64, "links of one entry asked for at once"),
        ("prefetch_entry_max", cache.prefetch_entry_max, "bytes of one prefetched link"),
        ("prefetch_max", cache.prefetch_max, "bytes prefetched for one entry"),
        ("uploads_max", cache.uploads_max as u64, "uploads at once, at most"),
    ];
    page.push_str("\n# constants\n");
    for (name, number, words) in numbers {
        let pair = format!("# {name}: {number}");
        let _ = writeln!(page, "{pair:COLUMN$} # {words}");
    }
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn what_could_be_secret_is_masked() {
        for (url, shown) in [
            ("s3://b/p?region=eu", "s3://b/p?region=eu"),
            ("file:///x", "file:///x"),
            ("s3://id:hush@b/p", "s3://…@b/p"),
            ("az://c?sas_token=hush&x=1", "az://c?sas_token=…&x=1"),
            ("az://c?sig=hush", "az://c?sig=…"),
        ] {
            assert_eq!(mask(url), shown);
        }
    }
}
