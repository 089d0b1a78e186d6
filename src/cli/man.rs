//! `larder man`: the manual pages, made of the command's own definition.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Command, CommandFactory as _};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::{Cli, EXIT_CODES, complain, written};

/// The flags of `larder man`.
#[derive(Debug, Args)]
pub(super) struct ManFlags {
    /// Write a page for each command into this folder, which is made if need be; else the first goes to standard output
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints or writes them.
pub(super) fn man(flags: &ManFlags) -> ExitCode {
    let pages = pages();
    let Some(dir) = &flags.dir else {
        let first = pages.first().map(|(_, page)| page.as_slice()).unwrap_or_default();
        return written(io::stdout().write_all(first)).map_or_else(|code| code, |()| ExitCode::SUCCESS);
    };
    match write(dir, &pages) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("failed to write manual pages to {}: {error}", dir.display())),
    }
}

fn write(dir: &Path, pages: &[(String, Vec<u8>)]) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    pages.iter().try_for_each(|(name, page)| fs::write(dir.join(name), page))
}

/// Each page with the name of its file; that of `larder` itself is the first.
fn pages() -> Vec<(String, Vec<u8>)> {
    fn walk(command: &Command, all: &[String], pages: &mut Vec<(String, Vec<u8>)>) {
        let man = Man::new(command.clone()).manual("Larder");
        pages.push((man.get_filename(), page(command, &man, all)));
        command.get_subcommands().for_each(|below| walk(below, all, pages));
    }
    fn names(command: &Command, all: &mut Vec<String>) {
        all.push(command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned());
        command.get_subcommands().for_each(|below| names(below, all));
    }
    let mut command = Cli::command().disable_help_subcommand(true);
    // Gives each command its whole name.
    command.build();
    let (mut all, mut pages) = (Vec::new(), Vec::new());
    names(&command, &mut all);
    walk(&command, &all, &mut pages);
    pages
}

fn page(command: &Command, man: &Man, all: &[String]) -> Vec<u8> {
    let mut page = Vec::new();
    // Writing to a buffer can't fail.
    let _ = man
        .render_title(&mut page)
        .and_then(|()| man.render_name_section(&mut page))
        .and_then(|()| man.render_synopsis_section(&mut page))
        .and_then(|()| man.render_description_section(&mut page))
        .and_then(|()| match command.get_arguments().any(|argument| !argument.is_hide_set()) {
            true => man.render_options_section(&mut page),
            false => Ok(()),
        })
        .and_then(|()| match command.has_subcommands() {
            true => man.render_subcommands_section(&mut page),
            false => Ok(()),
        })
        .and_then(|()| more(command, all).to_writer(&mut page));
    in_ascii(&String::from_utf8_lossy(&page)).into_bytes()
}

/// Without a preprocessor roff reads bytes; every roff knows characters by their number.
fn in_ascii(page: &str) -> String {
    let mut ascii = String::with_capacity(page.len());
    for char in page.chars() {
        match char.is_ascii() {
            true => ascii.push(char),
            false => ascii += &format!("\\[u{:04X}]", u32::from(char)),
        }
    }
    ascii
}

/// What the definition has as text, or not at all.
fn more(command: &Command, all: &[String]) -> Roff {
    let mut roff = Roff::new();
    if let Some(examples) = command.get_after_help() {
        let examples = examples.to_string();
        roff.control("SH", ["EXAMPLES"]).control("nf", []);
        for line in examples.lines().filter(|line| !line.ends_with(':') && !line.is_empty()) {
            roff.text([roman(line)]);
        }
        roff.control("fi", []);
    }
    roff.control("SH", ["EXIT STATUS"]);
    for (code, words) in EXIT_CODES {
        roff.control("TP", ["4"]).text([bold(code.to_string())]).text([roman(words)]);
    }
    roff.control("SH", ["SEE ALSO"]);
    let own = command.get_display_name().unwrap_or_else(|| command.get_name());
    let others: Vec<String> =
        all.iter().filter(|name| *name != own).map(|name| format!("{name}(1)")).collect();
    roff.text([roman(others.join(", "))]);
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_its_page_with_exit_codes() {
        let pages = pages();
        assert_eq!(pages[0].0, "larder.1");
        for name in ["larder-status.1", "larder-config-schema.1", "larder-token-new.1"] {
            assert!(pages.iter().any(|(page, _)| page == name), "{name}");
        }
        for (name, page) in &pages {
            let page = String::from_utf8_lossy(page);
            assert!(
                page.contains(".SH \"EXIT STATUS\"") || page.contains(".SH EXIT STATUS"),
                "{name}: {page}"
            );
        }
    }

    #[test]
    fn groff_has_nothing_to_say_of_them() {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), &pages()).expect("written");
        for (name, _) in pages() {
            let groff = std::process::Command::new("groff")
                .args(["-man", "-Tutf8", "-ww", "-z"])
                .arg(folder.path().join(&name))
                .output();
            match groff {
                Ok(output) => {
                    assert!(output.status.success() && output.stderr.is_empty(), "{name}: {output:?}")
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => return, // a machine without it
                Err(error) => panic!("groff: {error}"),
            }
        }
    }
}
