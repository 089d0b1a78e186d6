//! Colours, where they are wanted: on a terminal, unless `NO_COLOR` is set, and elsewhere if `CLICOLOR_FORCE` is.

use std::borrow::Cow;
use std::io;

use anstream::{AutoStream, ColorChoice, adapter};
use clap::builder::styling::{AnsiColor, Style};

/// What all is well with.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// What needs a person.
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
/// What is not as it should be, and mends itself.
pub(super) const COPES: Style = AnsiColor::Yellow.on_default();
/// Headings and names.
pub(super) const HEAD: Style = Style::new().bold();
/// What is beside the point.
pub(super) const DIM: Style = Style::new().dimmed();

/// The text as standard output takes it.
pub(super) fn for_stdout(text: &str) -> Cow<'_, str> {
    match AutoStream::choice(&io::stdout()) {
        ColorChoice::Never => plain(text).into(),
        ColorChoice::Auto | ColorChoice::AlwaysAnsi | ColorChoice::Always => text.into(),
    }
}

/// The text without colours.
pub(super) fn plain(text: &str) -> String {
    adapter::strip_str(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_plain_has_no_escapes() {
        assert_eq!(plain(&format!("{BAD}bad{BAD:#} and {DIM}dim{DIM:#}")), "bad and dim");
    }
}
