//! What is found, and how it is shown. The words of checks and levels, and the shape of the JSON, are frozen.

use std::io;

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// It works, and something is lost or will be.
    Warning,
    /// It doesn't work, or isn't safe.
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) level: Level,
    pub(super) words: String,
    pub(super) remedy: Option<String>,
}

/// All findings, as `--json` has them.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    version: &'static str,
    problems: usize,
    warnings: usize,
    findings: Vec<Finding>,
}

/// Columns of the level and of the check.
const LEVEL: usize = 8;
const CHECK: usize = 14;

// === impl Finding ===

impl Finding {
    pub(super) fn ok(check: &'static str, words: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, words: words.into(), remedy: None }
    }

    pub(super) fn warning(check: &'static str, words: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, level: Level::Warning, words: words.into(), remedy: Some(remedy.into()) }
    }

    pub(super) fn problem(check: &'static str, words: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, level: Level::Problem, words: words.into(), remedy: Some(remedy.into()) }
    }
}

// === impl Report ===

impl Report {
    pub(super) fn new(findings: Vec<Finding>) -> Self {
        let count = |level| findings.iter().filter(|finding| finding.level == level).count();
        let (problems, warnings) = (count(Level::Problem), count(Level::Warning));
        Self { version: env!("CARGO_PKG_VERSION"), problems, warnings, findings }
    }

    pub(super) fn has_problems(&self) -> bool {
        self.problems > 0
    }

    /// For people: a line each, the remedy below it, a line about all.
    pub(super) fn write(&self, out: &mut impl io::Write, colours: bool) -> io::Result<()> {
        for finding in &self.findings {
            let (colour, level) = match finding.level {
                Level::Ok => ("\x1b[32m", "ok"),
                Level::Warning => ("\x1b[33m", "warning"),
                Level::Problem => ("\x1b[31m", "problem"),
            };
            let (before, after) = if colours { (colour, "\x1b[0m") } else { ("", "") };
            let words = one_line(&finding.words);
            writeln!(out, "{before}{level:LEVEL$}{after} {:CHECK$} {words}", finding.check)?;
            if let Some(remedy) = &finding.remedy {
                writeln!(out, "{:1$}remedy: {2}", "", LEVEL + CHECK + 2, one_line(remedy))?;
            }
        }
        let count = |count: usize, one: &str| match count {
            0 => format!("no {one}s"),
            1 => format!("1 {one}"),
            many => format!("{many} {one}s"),
        };
        writeln!(out, "{}, {}", count(self.problems, "problem"), count(self.warnings, "warning"))
    }
}

/// What others said may have several lines, and what a terminal obeys.
fn one_line(words: &str) -> String {
    let printed = |c: char| if c == '\n' { ' ' } else { c };
    words.trim_end().chars().map(printed).filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report::new(vec![
            Finding::ok("port", "fine"),
            Finding::problem("daemon", "two\nlines \x1b[2J", "start it"),
            Finding::warning("space", "little", "more"),
        ])
    }

    #[test]
    fn each_has_a_line_and_its_remedy_below() {
        let shown = |colours| {
            let mut bytes = Vec::new();
            report().write(&mut bytes, colours).expect("memory");
            String::from_utf8(bytes).expect("text")
        };
        let plain = shown(false);
        let lines: Vec<&str> = plain.lines().collect();
        assert_eq!(
            lines,
            [
                "ok       port           fine",
                "problem  daemon         two lines [2J",
                "                        remedy: start it",
                "warning  space          little",
                "                        remedy: more",
                "1 problem, 1 warning",
            ]
        );
        assert!(shown(true).contains("\x1b[31mproblem \x1b[0m daemon"), "{:?}", shown(true));
    }

    #[test]
    fn the_json_is_frozen() {
        let json = serde_json::to_value(report()).expect("plain values");
        assert_eq!(json["problems"], 1);
        assert_eq!(json["warnings"], 1);
        assert_eq!(
            json["findings"][0],
            serde_json::json!({"check": "port", "level": "ok", "words": "fine", "remedy": null})
        );
        assert_eq!(json["findings"][1]["level"], "problem");
        assert_eq!(json["findings"][2]["level"], "warning");
    }
}
