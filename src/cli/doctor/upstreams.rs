//! Each upstream by its canary, and this machine's clock by theirs.

use super::finding::Finding;
use super::machine::span;
use super::stats::Upstream as InForce;
use crate::upstream::{Canary, Outcome, Step};

/// Canaries and what became of them.
#[derive(Debug)]
pub(super) struct Facts {
    /// Why there are none.
    pub(super) grounded: Option<String>,
    pub(super) canaries: Vec<Canary>,
    /// Flown by the daemon, with its keys; else by this command, with its own.
    pub(super) by_daemon: bool,
    /// The upstreams as the daemon sees them.
    pub(super) in_force: Vec<InForce>,
}

/// Clocks further apart are a warning: near the limit of what signatures allow, with some drift to go.
const SKEW_TOLD: u64 = 60;
/// S3 and Azure refuse signatures that are older.
const SKEW_MAX: u64 = 15 * 60;

const CHECK: &str = "upstream";

// === impl Facts ===

impl Facts {
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Some(words) = &self.grounded {
            findings.push(Finding::problem(
                CHECK,
                format!("the upstreams could not be tried: {words}"),
                "see to the daemon and the configuration first, then ask again",
            ));
        } else if self.canaries.is_empty() {
            findings.push(Finding::ok(CHECK, "none: this cache is for this machine alone"));
        }
        findings.extend(self.canaries.iter().map(|canary| self.upstream(canary)));
        findings.extend(self.clock());
        findings
    }

    fn upstream(&self, canary: &Canary) -> Finding {
        let name = &canary.upstream;
        let by =
            if self.by_daemon { "by the daemon" } else { "by this command, with the keys of this shell" };
        let is = |step: &Step, outcome| step.outcome == outcome;
        let Canary { look, write, read, delete, .. } = canary;
        if is(look, Outcome::Failed) {
            return Finding::problem(
                CHECK,
                format!("{name} can't be used: {}", look.words),
                "see that its URL is right and that this machine reaches it; until then reads are misses, and uploads \
                 wait in the queue",
            );
        }
        if is(look, Outcome::Denied) && is(write, Outcome::Denied) {
            return Finding::problem(
                CHECK,
                format!("{name} refuses the keys: {}", look.words),
                format!(
                    "correct its credentials or their rights (docs/upstreams.md says which are the least); it was asked \
                     {by}"
                ),
            );
        }
        match write.outcome {
            Outcome::Denied => {
                return Finding::problem(
                    CHECK,
                    format!("{name} can be read and not written: {}", write.words),
                    "give the keys the right to write; or say that it is not to be written, with mode = \"read-only\" of \
                     `[upstreams.NAME]` or read_only=true in its URL: until then uploads wait in the queue",
                );
            }
            Outcome::Failed => {
                return Finding::problem(
                    CHECK,
                    format!("{name} can't be written: {}", write.words),
                    "see to the store; until then uploads wait in the queue",
                );
            }
            Outcome::Done | Outcome::Skipped => {}
        }
        if is(read, Outcome::Denied) || is(read, Outcome::Failed) {
            return Finding::problem(
                CHECK,
                format!("{name} was written, and what was written can't be read: {}", read.words),
                "give the keys the right to read; if they have it, see to the store",
            );
        }
        if is(delete, Outcome::Denied) || is(delete, Outcome::Failed) {
            return Finding::warning(
                CHECK,
                format!("{name} was written and read, and nothing can be deleted: {}", delete.words),
                format!(
                    "give the keys the right to delete, if clients are to delete; {} (64 bytes) stays there, as one of \
                     each run of this",
                    canary.object
                ),
            );
        }
        if is(look, Outcome::Denied) {
            return Finding::warning(
                CHECK,
                format!("{name}: {}", look.words),
                "give the keys the right to list (s3:ListBucket): then what isn't there can be told from what may not \
                 be read",
            );
        }
        if let Some(words) = self.refused(name) {
            return Finding::warning(
                CHECK,
                format!("{name} answers, and the daemon doesn't use it yet: {words}"),
                "none if that ends by itself within a minute; else the keys lack a right to some of its names",
            );
        }
        let ms = look.ms + write.ms + read.ms + delete.ms;
        let done = if canary.read_only {
            "asked, and not written, as it is read-only"
        } else {
            "written, read and deleted"
        };
        Finding::ok(CHECK, format!("{name} was {done}, in {ms} ms, {by}"))
    }

    /// What the daemon says of an upstream whose calls it refuses.
    fn refused(&self, name: &str) -> Option<&str> {
        let upstream = self.in_force.iter().find(|upstream| upstream.name == name)?;
        [&upstream.read, &upstream.write]
            .into_iter()
            .find(|direction| !matches!(direction.state.as_str(), "up" | ""))
            .map(|direction| direction.words.as_str())
    }

    fn clock(&self) -> Option<Finding> {
        const CHECK: &str = "clock";
        let skews = self.canaries.iter().filter_map(|canary| Some((canary.clock_skew_s?, &canary.upstream)));
        let (skew, name) = skews.max_by_key(|(skew, _)| skew.unsigned_abs())?;
        let apart = skew.unsigned_abs();
        let words = format!(
            "this machine's clock is {} {} that of {name}",
            span(apart),
            if skew > 0 { "behind" } else { "ahead of" }
        );
        let remedy = "set the clock, and keep it so: `timedatectl set-ntp true`";
        Some(match apart {
            SKEW_MAX.. => Finding::problem(
                CHECK,
                format!("{words}: stores refuse what is signed more than 15 min away from their own time"),
                remedy,
            ),
            SKEW_TOLD.. => Finding::warning(CHECK, words, remedy),
            _ => Finding::ok(CHECK, format!("within {} of that of {name}", span(apart.max(1)))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn step(outcome: Outcome) -> Step {
        let words = if outcome == Outcome::Done { "" } else { "the store's words" };
        Step { outcome, words: words.into(), ms: 3 }
    }

    fn facts(outcomes: [Outcome; 4]) -> Facts {
        let [look, write, read, delete] = outcomes.map(step);
        let canary = Canary {
            upstream: "team".into(),
            read_only: false,
            object: "larder-canary-0".into(),
            look,
            write,
            read,
            delete,
            clock_skew_s: Some(0),
        };
        Facts { grounded: None, canaries: vec![canary], by_daemon: true, in_force: Vec::new() }
    }

    fn first(outcomes: [Outcome; 4]) -> Finding {
        facts(outcomes).findings().remove(0)
    }

    #[test]
    fn every_way_of_a_canary_has_its_words() {
        use Outcome::{Denied, Done, Failed, Skipped};
        let well = first([Done, Done, Done, Done]);
        assert!(
            well.level == Level::Ok && well.words.contains("written, read and deleted, in 12 ms"),
            "{well:?}"
        );
        for (outcomes, level, words, remedy) in [
            ([Failed, Skipped, Skipped, Skipped], Level::Problem, "can't be used", "reaches"),
            ([Denied, Denied, Skipped, Skipped], Level::Problem, "refuses the keys", "credentials"),
            ([Done, Denied, Skipped, Skipped], Level::Problem, "not written", "read-only"),
            ([Done, Failed, Skipped, Skipped], Level::Problem, "can't be written", "queue"),
            ([Done, Done, Failed, Done], Level::Problem, "can't be read", "right to read"),
            ([Done, Done, Done, Denied], Level::Warning, "deleted", "larder-canary-0"),
            ([Denied, Done, Done, Done], Level::Warning, "team", "ListBucket"),
        ] {
            let found = first(outcomes);
            assert_eq!(found.level, level, "{found:?}");
            assert!(found.words.contains(words) && found.words.contains("the store's words"), "{found:?}");
            assert!(found.remedy.as_ref().is_some_and(|found| found.contains(remedy)), "{found:?}");
        }
        let mut read_only = facts([Done, Skipped, Skipped, Skipped]);
        read_only.canaries[0].read_only = true;
        assert_eq!(read_only.findings()[0].level, Level::Ok);
    }

    #[test]
    fn a_way_that_the_daemon_refuses_is_told_though_the_canary_came_back() {
        let mut facts = facts([Outcome::Done; 4]);
        let state = |state: &str| super::super::stats::Direction {
            state: state.into(),
            words: "write denied".into(),
        };
        facts.in_force = vec![InForce { name: "team".into(), read: state("up"), write: state("denied") }];
        let found = facts.findings().remove(0);
        assert!(found.level == Level::Warning && found.words.contains("write denied"), "{found:?}");
    }

    #[test]
    fn clocks() {
        for (skew, level, words) in [
            (0, Level::Ok, "within 1 s"),
            (-59, Level::Ok, "within 59 s"),
            (61, Level::Warning, "61 s behind"),
            (-1200, Level::Problem, "20 min ahead of"),
            (1200, Level::Problem, "20 min behind"),
        ] {
            let mut facts = facts([Outcome::Done; 4]);
            facts.canaries[0].clock_skew_s = Some(skew);
            let found = facts.findings().remove(1);
            assert_eq!((found.check, found.level), ("clock", level), "{found:?}");
            assert!(found.words.contains(words), "{found:?}");
        }
    }

    #[test]
    fn without_canaries_it_is_said_why() {
        let none = |grounded: Option<&str>| Facts {
            grounded: grounded.map(str::to_owned),
            canaries: Vec::new(),
            by_daemon: true,
            in_force: Vec::new(),
        };
        assert_eq!(none(None).findings()[0].level, Level::Ok);
        let found = none(Some("no answer")).findings().remove(0);
        assert!(found.level == Level::Problem && found.words.contains("no answer"));
    }
}
