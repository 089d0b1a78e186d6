//! The file: which of its words are keys, and where each value stands.
//!
//! Whether a value is right is looked at later, together with what the environment and the flags say.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Value};

use super::keys::{self, Doc, LISTENERS, NAMESPACES, TABLES, TOP, UPSTREAMS};
use super::near::nearest;
use super::place::{Problem, Source, Text};
use super::section::{Said, Section};

/// A larger file is no configuration.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 20;

/// What some editors begin a text with.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Whether the daemon runs already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Not yet: a pipe will do.
    First,
    /// It does: only what can be read again and again.
    Again,
}

/// Reads the file at `path` into `said`.
pub(super) fn read(path: &Path, reading: Reading, said: &mut Said, problems: &mut Vec<Problem>) {
    let shown: Arc<str> = path.display().to_string().into();
    let text = match text(path, reading) {
        Ok(text) => text,
        Err(words) => return problems.push(Problem::new(&Source::file(shown), "", words)),
    };
    said.top.source = Source::file(Arc::clone(&shown));
    let text = Text { path: shown, text: text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&text) };
    let (table, errors) = DeTable::parse_recoverable(text.text);
    if errors.is_empty() {
        return Reader { text: &text, problems }.top(table.get_ref(), said);
    }
    for error in errors {
        let source =
            error.span().map_or_else(|| Source::file(Arc::clone(&text.path)), |span| text.at(span.start));
        problems.push(Problem::new(
            &source,
            "",
            format!("is not TOML: {}", error.message().replace('\n', "; ")),
        ));
    }
}

/// The text of a file; else words with the remedy.
fn text(path: &Path, reading: Reading) -> Result<String, String> {
    let failed = |error: io::Error| format!("can't be read: {error}; name another with --config, or none");
    let found = path.metadata().map_err(failed)?;
    if found.is_dir() {
        return Err("is a folder; name the file in it, as in --config /etc/larder/larder.toml".into());
    }
    if reading == Reading::Again && !found.is_file() {
        return Err(
            "is not a file that can be read again; restart the daemon to change its configuration".into()
        );
    }
    // Of what was opened: it may be another by now, or still grow.
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err("is over 1 MiB, which no configuration is; is another file meant?".into());
    }
    String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].split(|byte| *byte == b'\n').count();
        format!("is not UTF-8 in line {line}; save it as UTF-8")
    })
}

struct Reader<'a> {
    text: &'a Text<'a>,
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    fn top(&mut self, table: &DeTable<'_>, said: &mut Said) {
        for (name, value) in table {
            let place = self.text.at(name.span().start);
            match (&**name.get_ref(), value.get_ref()) {
                ("upstreams", DeValue::Table(inner)) => {
                    said.upstreams = self.named("upstreams", inner, docs(UPSTREAMS));
                }
                ("namespaces", DeValue::Table(inner)) => {
                    said.namespaces = self.named("namespaces", inner, docs(NAMESPACES));
                }
                ("listeners", DeValue::Array(items)) => {
                    for (number, item) in items.iter().enumerate() {
                        let number = (number + 1).to_string();
                        let section =
                            self.table("listeners", &number, item, item.span().start, &docs(LISTENERS));
                        said.listeners.extend(section);
                    }
                }
                (known, _) if TABLES.iter().any(|table| table.name == known) => {
                    let example =
                        TABLES.iter().find(|table| table.name == known).map_or("", |table| table.example);
                    self.problem(&place, known, format!("is a table, written as {example}"));
                }
                (section, DeValue::Table(inner)) if keys::is_section(section) => {
                    self.keys(inner, &format!("{section}."), &docs(TOP), &mut said.top);
                }
                (section, _) if keys::is_section(section) => {
                    self.problem(&place, section, format!("is a section, written as [{section}]"));
                }
                (key, _) => self.key(key, place, value, "", &docs(TOP), &mut said.top),
            }
        }
    }

    fn named(&mut self, table: &str, inner: &DeTable<'_>, docs: Vec<Doc>) -> Vec<Section> {
        let sections = inner
            .iter()
            .filter_map(|(name, value)| self.table(table, name.get_ref(), value, name.span().start, &docs));
        sections.collect()
    }

    fn table(
        &mut self,
        table: &str,
        name: &str,
        value: &Spanned<DeValue<'_>>,
        start: usize,
        docs: &[Doc],
    ) -> Option<Section> {
        let place = self.text.at(start);
        let quoted = if is_bare(name) { name.to_owned() } else { Value::from(name).to_string() };
        let DeValue::Table(inner) = value.get_ref() else {
            self.problem(
                &place,
                &format!("{table}.{quoted}"),
                format!("is a table, written as [{table}.{quoted}]"),
            );
            return None;
        };
        let mut section = Section::new(format!("{table}.{quoted}."), name.to_owned(), place);
        self.keys(inner, "", docs, &mut section);
        Some(section)
    }

    fn keys(&mut self, table: &DeTable<'_>, within: &str, docs: &[Doc], to: &mut Section) {
        for (name, value) in table {
            let place = self.text.at(name.span().start);
            self.key(name.get_ref(), place, value, within, docs, to);
        }
    }

    fn key(
        &mut self,
        name: &str,
        place: Source,
        value: &Spanned<DeValue<'_>>,
        within: &str,
        docs: &[Doc],
        to: &mut Section,
    ) {
        let name = format!("{within}{name}");
        match docs.iter().find(|doc| doc.name == name) {
            Some(doc) => to.set(doc.name, plain(value.get_ref()), self.text.at(value.span().start)),
            None => {
                let at_top = within.is_empty() && to.path.is_empty();
                let sections = TABLES.iter().map(|table| table.name).chain(["access", "log"]);
                let known = docs.iter().map(|doc| doc.name).chain(sections.filter(|_| at_top));
                let words = match nearest(&name, known) {
                    Some(nearest) => format!("is not a key; is `{nearest}` meant?"),
                    None => "is not a key of this version; `larder config example` shows them all".into(),
                };
                self.problem(&place, &format!("{}{name}", to.path), words);
            }
        }
    }

    fn problem(&mut self, source: &Source, key: &str, words: impl Into<String>) {
        self.problems.push(Problem::new(source, key, words));
    }
}

fn docs<T>(keys: &[keys::Key<T>]) -> Vec<Doc> {
    keys.iter().map(|key| key.doc).collect()
}

/// Whether a key of TOML needs no quotes.
pub(super) fn is_bare(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// The value without its places.
fn plain(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        // One that is too long for a number is a text, which is refused as what it should be.
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Value::String(number.to_string()), Value::Integer),
        DeValue::Float(number) => {
            number.as_str().parse().map_or_else(|_| Value::String(number.to_string()), Value::Float)
        }
        DeValue::Boolean(truth) => Value::Boolean(*truth),
        DeValue::Datetime(time) => Value::Datetime(*time),
        DeValue::Array(items) => Value::Array(items.iter().map(|item| plain(item.get_ref())).collect()),
        DeValue::Table(table) => Value::Table(
            table.iter().map(|(name, value)| (name.get_ref().to_string(), plain(value.get_ref()))).collect(),
        ),
    }
}
