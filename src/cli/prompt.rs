//! Questions to who sits at the terminal. What is secret is typed without an echo.

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

use crate::upstream::Secret;

/// A longer answer is none.
const BYTES_MAX: u64 = 256 << 10;

/// Bytes of a line that a terminal takes, before it forgets what comes: N_TTY's, and MAX_CANON of macOS.
const LINE_MAX: usize = if cfg!(target_os = "macos") { 1023 } else { 4095 };

/// What Ctrl-C sends.
const INTERRUPT: u8 = 0x03;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// Ctrl-C.
    Interrupted,
    /// Words.
    Failed(String),
}

/// The terminal without an echo, until this is dropped.
struct Silent(Termios);

/// Asks for one line.
pub(super) fn line(question: &str) -> Result<Secret, Unanswered> {
    say(question)?;
    read_line().map(|(text, _)| text)
}

/// Asks for one line, without an echo.
pub(super) fn secret(question: &str) -> Result<Secret, Unanswered> {
    // Before the question: who types ahead would see the echo.
    let silent = Silent::begin()?;
    say(question)?;
    let answer = read_line();
    drop(silent);
    say("\n")?;
    match answer? {
        (_, true) => Err(Unanswered::Interrupted),
        (text, false) => Ok(text),
    }
}

/// Asks for all up to Ctrl-D, without an echo.
pub(super) fn secret_lines(question: &str) -> Result<Secret, Unanswered> {
    // Before the question: who types ahead would see the echo.
    let silent = Silent::begin()?;
    say(question)?;
    let mut all = String::new();
    loop {
        match read_line()? {
            (_, true) => return Err(Unanswered::Interrupted),
            (line, false) if line.expose().is_empty() => break,
            (line, false) => all.push_str(line.expose()),
        }
    }
    drop(silent);
    Ok(Secret::new(all))
}

/// All of standard input, where nobody sits at it.
pub(super) fn input() -> Result<Secret, Unanswered> {
    let mut text = String::new();
    let read = io::stdin().lock().take(BYTES_MAX + 1).read_to_string(&mut text);
    let text = Secret::new(text);
    match read {
        Ok(read) if read as u64 > BYTES_MAX => Err(Unanswered::Failed("read more than 256 KiB".into())),
        Ok(_) => Ok(text),
        Err(error) => Err(Unanswered::Failed(format!("read standard input: {error}"))),
    }
}

/// A line of the terminal with its end, and whether Ctrl-C ended it.
fn read_line() -> Result<(Secret, bool), Unanswered> {
    let mut bytes = Vec::new();
    for byte in io::stdin().lock().take(BYTES_MAX).bytes() {
        let byte = byte.map_err(|error| Unanswered::Failed(format!("read the terminal: {error}")))?;
        if byte == INTERRUPT {
            return Ok((Secret::default(), true));
        }
        bytes.push(byte);
        if byte == b'\n' {
            break;
        }
    }
    if bytes.len() >= LINE_MAX {
        // Its end is lost, and what was kept would be refused by a store, for no reason that anybody sees.
        let words = "take it from the terminal, which cuts lines as long as this: give it on standard input";
        return Err(Unanswered::Failed(words.into()));
    }
    let text = String::from_utf8(bytes).map_err(|_| Unanswered::Failed("read what is no UTF-8".into()))?;
    Ok((Secret::new(text), false))
}

fn say(words: &str) -> Result<(), Unanswered> {
    let said = io::stderr().write_all(words.as_bytes());
    said.map_err(|error| Unanswered::Failed(format!("ask at the terminal: {error}")))
}

// === impl Silent ===

impl Silent {
    fn begin() -> Result<Self, Unanswered> {
        let failed = |error: rustix::io::Errno| Unanswered::Failed(format!("silence the terminal: {error}"));
        let before = tcgetattr(io::stdin().as_fd()).map_err(failed)?;
        let mut silent = before.clone();
        // Ctrl-C would end this command and leave the terminal without an echo: it ends the line instead.
        silent.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        silent.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
        tcsetattr(io::stdin().as_fd(), OptionalActions::Flush, &silent).map_err(failed)?;
        Ok(Self(before))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // A terminal that has gone away needs no echo.
        let _ = tcsetattr(io::stdin().as_fd(), OptionalActions::Now, &self.0);
    }
}
