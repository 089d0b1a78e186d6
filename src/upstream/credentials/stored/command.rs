//! Commands that print credentials.
//!
//! There is no shell. A command is split at blanks; what is in `'…'` is taken as it is, in `"…"` a backslash takes the
//! next character, and so it does outside of quotes. Nothing else is special: no `~`, no `$`, no `*`. The first word is
//! looked for in the daemon's `PATH`.
//!
//! A command has 30 s and a process group of its own, which is killed as a whole when they are over. It is over when its
//! process is: what that left running may hold its standard output open, and is not waited for. What it prints is never
//! shown. The first line that it says on standard error is, after what looks like a secret is cut from it.

use std::os::unix::process::ExitStatusExt as _;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

/// What a command may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// How long what a command left running may still print, once its own process is gone.
const LEFT_BEHIND: Duration = Duration::from_millis(500);

/// Bytes of an answer.
const STDOUT_MAX: usize = 256 << 10;

/// Bytes of what it says that are looked at.
const STDERR_MAX: usize = 4 << 10;

/// Characters of what it says that are shown.
const SHOWN_MAX: usize = 200;

/// A run of letters and digits of this length may be a secret.
const RUN_MAX: usize = 16;

/// Variables that are the service manager's word to this process alone.
const OURS: [&str; 9] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
    "CREDENTIALS_DIRECTORY",
    "LARDER_UPSTREAM_TOKEN",
    "JOURNAL_STREAM",
];

/// Kills the whole group when it is dropped.
struct Group(Option<Pid>);

/// Splits a command into its words.
///
/// # Errors
/// Words that don't quote it.
pub(super) fn split(text: &str) -> Result<Vec<String>, &'static str> {
    let (mut words, mut word) = (Vec::new(), None::<String>);
    let mut chars = text.chars();
    let mut quote = None;
    while let Some(char) = chars.next() {
        match (quote, char) {
            (Some('\''), '\'') | (Some('"'), '"') => quote = None,
            (None, '\'' | '"') => {
                quote = Some(char);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => {
                let next = chars.next().ok_or("the command ends in a backslash")?;
                word.get_or_insert_default().push(next);
            }
            (None, char) if char.is_whitespace() => words.extend(word.take()),
            (_, char) => word.get_or_insert_default().push(char),
        }
    }
    if quote.is_some() {
        return Err("the command has a quote that is not closed");
    }
    words.extend(word);
    if words.first().is_none_or(String::is_empty) {
        return Err("the command names no program");
    }
    Ok(words)
}

/// Runs a command to its end; what it printed.
///
/// # Errors
/// Words that complete "the credential …: …", and name the program.
pub(super) async fn run(command: &str, input: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
    run_within(command, input, DEADLINE).await
}

async fn run_within(command: &str, input: &[u8], deadline: Duration) -> Result<Zeroizing<Vec<u8>>, String> {
    let words = split(command)?;
    let (program, arguments) = words.split_first().ok_or("the command names no program")?;
    // Its arguments may be secrets, should somebody have written them so.
    let name = program.rsplit('/').next().unwrap_or(program);
    let mut child = Command::new(program);
    child
        .args(arguments)
        .process_group(0)
        .kill_on_drop(true)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for variable in OURS {
        child.env_remove(variable);
    }
    let mut child = child
        .spawn()
        .map_err(|error| format!("`{name}` can't be started: {error}; see to the PATH of the daemon"))?;
    let mut group = Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let over = CancellationToken::new();
    let feed = async {
        if let Some(mut stdin) = stdin {
            // One that doesn't read what it is told ends when it likes to.
            let _ = stdin.write_all(input).await;
        }
    };
    let talk = async {
        let fed = over.run_until_cancelled(feed);
        let heard = async {
            let mut stderr = stderr?;
            let said = up_to(&mut stderr, STDERR_MAX, &over).await;
            // What it says beyond is read and forgotten, so that it can go on.
            let _ = over.run_until_cancelled(tokio::io::copy(&mut stderr, &mut tokio::io::sink())).await;
            Some(said)
        };
        let answer = async { Some(up_to(&mut stdout?, STDOUT_MAX, &over).await) };
        let (_, printed, said) = tokio::join!(fed, answer, heard);
        (printed.unwrap_or_default(), said.unwrap_or_default())
    };
    let work = async {
        let mut talk = pin!(talk);
        let status = tokio::select! {
            status = child.wait() => status,
            (printed, said) = &mut talk => return (child.wait().await, printed, said),
        };
        if let Ok((printed, said)) = tokio::time::timeout(LEFT_BEHIND, &mut talk).await {
            return (status, printed, said);
        }
        over.cancel();
        let (printed, said) = talk.await;
        (status, printed, said)
    };
    let done = tokio::time::timeout(deadline, work).await;
    let Ok((status, printed, said)) = done else {
        return Err(format!("`{name}` gave no answer within {} s, and was killed", deadline.as_secs()));
    };
    // What it left running in its group has no business any more; the group's leader is gone already.
    group.kill();
    if printed.len() > STDOUT_MAX {
        return Err(format!("`{name}` printed more than {} KiB", STDOUT_MAX >> 10));
    }
    let status = status.map_err(|error| format!("`{name}` can't be waited for: {error}"))?;
    if !status.success() {
        return Err(format!("`{name}` {}{}", ended(status), first_line(&said)));
    }
    Ok(printed)
}

/// What comes until its end, or until it is `over` and no more is there; no more than `max` bytes and one, which says that
/// this is not all.
async fn up_to(mut from: impl AsyncRead + Unpin, max: usize, over: &CancellationToken) -> Zeroizing<Vec<u8>> {
    // Not one that grows, which leaves its parts behind.
    let mut kept = Zeroizing::new(Vec::with_capacity(max + 1));
    let mut piece = Zeroizing::new([0; 4096]);
    while kept.len() <= max {
        let read = tokio::select! {
            biased;
            read = from.read(&mut *piece) => read,
            () = over.cancelled() => break,
        };
        let Ok(read @ 1..) = read else { break };
        let room = max + 1 - kept.len();
        kept.extend_from_slice(&piece[..read.min(room)]);
    }
    kept
}

fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".into(),
    }
}

/// `: …`, without what looks like a secret.
fn first_line(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    match text.lines().map(str::trim).find(|line| !line.is_empty()) {
        Some(line) => format!(": {}", without_secrets(line)),
        None => String::new(),
    }
}

/// A line without what looks like a secret: what follows `Bearer`, `password=` and the like, and long runs of letters,
/// digits and the marks of base64.
pub(super) fn without_secrets(line: &str) -> String {
    let mut shown = Vec::new();
    let mut after_name = false;
    for word in line.split_whitespace() {
        if after_name {
            // `Authorization: Bearer …`: both words.
            after_name = is_name(word);
            shown.push("…".to_owned());
            continue;
        }
        after_name = word.ends_with([':', '=']) && is_name(word) || is_scheme(word);
        shown.push(word.split_inclusive(['?', '&', ';', ',']).map(cut).collect());
    }
    shown.join(" ").escape_debug().take(SHOWN_MAX).collect()
}

/// Whether what follows such a name is secret.
fn is_name(word: &str) -> bool {
    const NAMES: [&str; 8] =
        ["secret", "token", "password", "passwd", "key", "sig", "credential", "authorization"];
    let word = word.to_ascii_lowercase();
    is_scheme(&word) || NAMES.iter().any(|name| word.contains(name))
}

fn is_scheme(word: &str) -> bool {
    ["bearer", "basic"].contains(&word.to_ascii_lowercase().trim_end_matches(':'))
}

/// A part of a word, or of a query, without its value.
fn cut(part: &str) -> String {
    match part.find(['=', ':']) {
        Some(at) if is_name(&part[..at]) && at + 1 < part.len() => format!("{}…", &part[..=at]),
        _ => cut_runs(part),
    }
}

fn cut_runs(word: &str) -> String {
    let is_run = |char: char| char.is_ascii_alphanumeric() || "+=_-".contains(char);
    let mut shown = String::new();
    let mut run = String::new();
    for char in word.chars().map(Some).chain([None]) {
        match char {
            Some(char) if is_run(char) => run.push(char),
            other => {
                let has = |is: fn(&char) -> bool| run.chars().any(|char| is(&char));
                let mixed = has(char::is_ascii_digit) && has(char::is_ascii_alphabetic);
                let is_id = run.starts_with("AKIA") || run.starts_with("ASIA");
                shown.push_str(if (run.len() >= RUN_MAX && mixed) || is_id { "…" } else { &run });
                run.clear();
                shown.extend(other);
            }
        }
    }
    shown
}

// === impl Group ===

impl Group {
    fn kill(&mut self) {
        if let Some(group) = self.0.take() {
            // It is gone where it has ended.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::kill_process;

    use super::*;

    #[test]
    fn commands_are_split_without_a_shell() {
        let split = |text| split(text).map(|words| words.join("|"));
        for (text, words) in [
            ("aws sso", "aws|sso"),
            ("  a   'b c'\"d \\\" e\"f ", "a|b cd \" ef"),
            ("a ''", "a|"),
            (r"a\ b c", "a b|c"),
            (r"a 'b\'", r"a|b\"),
            ("a $HOME ~ *", "a|$HOME|~|*"),
        ] {
            assert_eq!(split(text).as_deref(), Ok(words), "{text}");
        }
        for (text, word) in [("", "program"), ("'' x", "program"), ("a 'b", "quote"), ("a \\", "backslash")] {
            assert!(split(text).is_err_and(|words| words.contains(word)), "{text}");
        }
    }

    #[test]
    fn what_looks_like_a_secret_is_cut() {
        for (line, shown) in [
            ("Error: no profile build", "Error: no profile build"),
            ("The SSO session of 2026-01-01 has expired", "The SSO session of 2026-01-01 has expired"),
            ("denied for AKIAIOSFODNN7EXAMPLE here", "denied for … here"),
            ("aws_secret_access_key=hunter2 bad", "aws_secret_access_key=… bad"),
            ("password: hunter2 bad", "password: … bad"),
            ("Authorization: Bearer abc def", "Authorization: … … def"),
            ("bad bearer hunter2", "bad bearer …"),
            ("https://x/y?sv=1&sig=hunter2", "https://x/y?sv=1&sig=…"),
            ("got wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY12", "got wJalrXUtnFEMI/K7MDENG/…"),
        ] {
            assert_eq!(without_secrets(line), shown, "{line}");
        }
        assert!(without_secrets(&"word ".repeat(100)).chars().count() <= SHOWN_MAX);
    }

    #[tokio::test]
    async fn answers_failures_and_what_they_say() {
        let run = async |command: &str| run(command, b"told").await.map(|printed| printed.to_vec());
        assert_eq!(run("cat").await, Ok(b"told".to_vec()));
        assert_eq!(run("printf '%s' 'a b'").await, Ok(b"a b".to_vec()));
        let words = run("sh -c 'echo s3cret; echo token=s3cret of you >&2; exit 1'").await.unwrap_err();
        assert_eq!(words, "`sh` ended with 1: token=… of you");
        let words = run("sh -c 'kill -9 $$'").await.unwrap_err();
        assert_eq!(words, "`sh` was ended by signal 9");
        let words = run("no-such-program s3cret").await.unwrap_err();
        assert!(
            words.starts_with("`no-such-program` can't be started") && !words.contains("s3cret"),
            "{words}"
        );
        // One that never ends is not waited for, either.
        for endless in ["sh -c 'yes | head -c 10000000'", "yes s3cret"] {
            let words = run(endless).await.unwrap_err();
            assert!(words.contains("printed more than 256 KiB"), "{words}");
        }
        // What it says beyond its first line is read all the same: else it would hang.
        let words = run("sh -c 'echo no >&2; yes s3cret | head -c 10000000 >&2; exit 1'").await.unwrap_err();
        assert_eq!(words, "`sh` ended with 1: no");
    }

    #[tokio::test]
    async fn what_it_leaves_running_is_not_waited_for() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // In its group, and out of it; each holds all that it was given open.
        for (begin, lives) in [("", false), ("setsid ", true)] {
            let pid = folder.path().join(if lives { "out" } else { "in" });
            let own = format!("echo \\$\\$ > {0}.new; mv {0}.new {0}; exec sleep 100", pid.display());
            let wait = format!("until [ -e {} ]; do sleep 0.02; done", pid.display());
            let command = format!("sh -c '{begin}sh -c \"{own}\" & {wait}; echo answer'");
            let printed = run_within(&command, b"", Duration::from_secs(20)).await;
            assert_eq!(printed.map(|printed| printed.to_vec()), Ok(b"answer\n".to_vec()), "{begin}");
            let started = std::fs::read_to_string(&pid).expect("it began");
            let pid = Pid::from_raw(started.trim().parse().expect("a number")).expect("a pid");
            if lives {
                kill_process(pid, Signal::KILL).expect("it is another's group, which is left alone");
            }
        }
    }

    #[tokio::test]
    async fn one_that_hangs_is_killed_with_all_that_it_began() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let pid = folder.path().join("pid");
        let command = format!("sh -c 'sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait'", pid.display());
        let words = run_within(&command, b"", Duration::from_secs(2)).await.unwrap_err();
        assert_eq!(words, "`sh` gave no answer within 2 s, and was killed");
        let child = std::fs::read_to_string(&pid).expect("it began");
        let status = format!("/proc/{}/status", child.trim());
        let gone = || std::fs::read_to_string(&status).map_or(true, |text| text.contains("Z (zombie)"));
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while !gone() {
            assert!(std::time::Instant::now() < deadline, "{child} lives on");
            tokio::task::yield_now().await;
        }
    }
}
