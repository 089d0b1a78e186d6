//! `larder config example`: a file with every key, its default and its reason. `docs/larder.toml` is a copy.

use std::fmt::Write as _;

use super::keys::{AT_START, Doc, TABLES, TOP, Unset};

/// Characters of a line.
const WIDTH: usize = 100;

const HEAD: &str = "\
# Larder's configuration: every key with its default and the reason for it. None is needed.
#
# A line that begins with `#` and a letter, without a space between, is a setting to be uncommented. Sizes are
# \"10 GiB\", \"512 MiB\", \"100 kB\" or bytes; times \"500 ms\", \"1.5 s\", \"15 min\", \"3 h\", \"7 days\". The file is over the
# defaults, the environment (LARDER_MEMORY, LARDER_ACCESS_USERS, …) over the file, flags over the environment.
# A change of the file is applied at once, whole or not at all, unless a key says otherwise.
# `larder check` says what is wrong, all of it, and else what is in force and why.
";

/// The file.
pub fn example() -> String {
    let mut page = String::from(HEAD);
    for key in TOP {
        setting(&mut page, &key.doc);
    }
    for table in &TABLES {
        page.push_str("\n\n");
        comment(&mut page, table.reason);
        let _ = writeln!(page, "#{}", table.example);
        for doc in (table.keys)() {
            setting(&mut page, &doc);
        }
    }
    page
}

fn setting(page: &mut String, doc: &Doc) {
    page.push('\n');
    comment(page, doc.reason);
    if doc.at_start {
        comment(page, AT_START);
    }
    let value = match doc.unset {
        Unset::Is(value) => value,
        Unset::Follows(words, value) => {
            comment(page, &format!("Default: {words}."));
            value
        }
        Unset::Needed(value) => {
            comment(page, "Needed.");
            value
        }
    };
    // Writing to a text can't fail.
    let _ = writeln!(page, "#{} = {value}", doc.name);
}

/// A paragraph, wrapped.
fn comment(page: &mut String, text: &str) {
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            page.push_str(&line);
            page.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    page.push_str(&line);
    page.push('\n');
}
