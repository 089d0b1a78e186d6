//! The status as people read it: a label, then what there is to say.

use std::fmt::{self, Display, Write};

use super::super::paint::{BAD, COPES, DIM, GOOD, HEAD};
use super::super::units::{age, entries, moment, percent, size};
use super::page::{Direction, Listener, Page, Protocol, Queue, Tier, Upstream};

/// Where the words begin.
const LABEL: usize = 16;

/// The tiers in the order in which they are asked.
const TIERS: [&str; 4] = ["memory", "outbox", "disk", "upstream"];

/// A page in the making, at one moment.
struct Lines {
    text: String,
    now_ms: u64,
}

/// The page in words, with colours.
pub(super) fn show(page: &Page, now_ms: u64) -> String {
    let mut lines = Lines { text: String::new(), now_ms };
    // Writing to a text can't fail.
    let _ = lines.page(page);
    lines.text
}

// === impl Lines ===

impl Lines {
    fn page(&mut self, page: &Page) -> fmt::Result {
        self.head(page)?;
        self.configuration(page)?;
        for (number, listener) in page.listeners.iter().enumerate() {
            self.line(if number == 0 { "listening" } else { "" }, gate(listener))?;
        }
        writeln!(self.text)?;
        self.line("memory", fill(&page.memory))?;
        let mut disk = format!("{}, {} free", fill(&page.disk), size(page.free_bytes));
        if page.inodes > 0 {
            write!(disk, ", {} of inodes free", percent(page.free_inodes, page.inodes))?;
        }
        self.line("disk", disk)?;
        self.line("outbox", fill(&page.outbox))?;
        self.line("queue", queue(&page.queue))?;
        let partial = &page.partial_uploads;
        if partial.count + partial.live > 0 {
            let words =
                format!("{} waiting, {}, {} being sent", partial.count, size(partial.bytes), partial.live);
            self.line("partial uploads", words)?;
        }
        let sheds: Vec<String> = page
            .sheds
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(reason, count)| format!("{count} {reason}"))
            .collect();
        if !sheds.is_empty() {
            self.line("shed since start", sheds.join(", "))?;
        }
        page.upstreams.iter().try_for_each(|upstream| self.upstream(upstream))?;
        self.protocols(page)?;
        self.warnings(page)
    }

    fn head(&mut self, page: &Page) -> fmt::Result {
        let (state, style) = match (page.is_healthy(), page.ready) {
            (false, _) => ("needs attention", BAD),
            (true, Some(false)) => ("starting: the index is being read", COPES),
            (true, _) => ("healthy", GOOD),
        };
        let version = if page.version.is_empty() { "?" } else { &page.version };
        writeln!(self.text, "{HEAD}larder {version}{HEAD:#}  {style}{state}{style:#}")?;
        let since = moment(page.started_ms, self.now_ms);
        let up = age(page.uptime_s.saturating_mul(1000));
        let mut words = format!("for {up}, since {since}, pid {}", page.pid);
        if page.connections > 0 {
            write!(words, ", {} open", count(page.connections, "connection"))?;
        }
        self.line("up", words)
    }

    fn configuration(&mut self, page: &Page) -> fmt::Result {
        let configuration = &page.configuration;
        let file = configuration.file.as_deref().unwrap_or("defaults, without a file");
        let mut words = file.to_owned();
        if configuration.applied_ms > 0 {
            write!(words, ", applied {}", moment(configuration.applied_ms, self.now_ms))?;
        }
        self.line("configuration", words)?;
        if let Some(since) = configuration.problems_since_ms.filter(|_| !configuration.problems.is_empty()) {
            let since = moment(since, self.now_ms);
            self.line(
                "",
                format!("{BAD}the newest is refused{BAD:#} since {since}, this one stays in force:"),
            )?;
            for problem in &configuration.problems {
                self.line("", problem)?;
            }
        }
        if !configuration.needs_restart.is_empty() {
            self.line("", format!("from the next start on: {}", configuration.needs_restart.join(", ")))?;
        }
        Ok(())
    }

    fn upstream(&mut self, upstream: &Upstream) -> fmt::Result {
        writeln!(self.text)?;
        self.line("upstream", format!("{}, {}", upstream.name, count(upstream.hits, "hit")))?;
        self.direction("read", &upstream.read)?;
        if upstream.read_only {
            return self.line("  write", format!("{DIM}never: it is read-only{DIM:#}"));
        }
        self.direction("write", &upstream.write)
    }

    fn direction(&mut self, name: &str, direction: &Direction) -> fmt::Result {
        let label = format!("  {name}");
        let since = moment(direction.since_ms, self.now_ms);
        let style = match direction.state.as_str() {
            "up" => return self.line(&label, format!("{GOOD}up{GOOD:#} since {since}")),
            "denied" => BAD,
            _ => COPES,
        };
        // The label and the column say the first word, and the time.
        let told = direction.words.split_once(" since ").and_then(|(_, rest)| rest.split_once(": "));
        let reason = told.map_or(direction.words.as_str(), |(_, reason)| reason);
        let state = &direction.state;
        let remedy = direction.remedy.as_deref().filter(|remedy| !reason.ends_with(remedy));
        self.line(&label, format!("{style}{state}{style:#} since {since}: {reason}"))?;
        remedy.map_or(Ok(()), |remedy| self.line("", format!("{DIM}{remedy}{DIM:#}")))
    }

    /// Hits and misses, of what was used.
    fn protocols(&mut self, page: &Page) -> fmt::Result {
        let used: Vec<_> = page.protocols.iter().filter(|(_, protocol)| protocol.was_used()).collect();
        if used.is_empty() {
            return Ok(());
        }
        let namespaces = used.iter().flat_map(|(_, protocol)| protocol.namespaces.keys());
        let widest =
            used.iter().map(|(name, _)| name.len()).chain(namespaces.map(|name| name.len() + 2)).max();
        let widest = widest.unwrap_or(0).clamp(LABEL, 40);
        let head = format!("{:widest$}", "hits");
        write!(self.text, "\n{HEAD}{head}{HEAD:#}")?;
        for name in TIERS.into_iter().chain(["misses", "hit rate", "puts"]) {
            write!(self.text, " {DIM}{name:>9}{DIM:#}")?;
        }
        writeln!(self.text)?;
        for (name, protocol) in used {
            self.counts(name, protocol, widest)?;
            for (name, namespace) in protocol.namespaces.iter().filter(|(_, namespace)| namespace.was_used())
            {
                self.counts(&format!("  {name}"), namespace, widest)?;
            }
        }
        Ok(())
    }

    fn counts(&mut self, name: &str, protocol: &Protocol, widest: usize) -> fmt::Result {
        write!(self.text, "{name:widest$}")?;
        for tier in TIERS {
            write!(self.text, " {:>9}", protocol.hits.get(tier).copied().unwrap_or(0))?;
        }
        let hits = protocol.all_hits();
        let rate = percent(hits, hits + protocol.misses);
        writeln!(self.text, " {:>9} {rate:>9} {:>9}", protocol.misses, protocol.puts)
    }

    fn warnings(&mut self, page: &Page) -> fmt::Result {
        if page.warnings.is_empty() {
            return Ok(());
        }
        writeln!(self.text, "\n{BAD}needs attention{BAD:#}")?;
        for warning in page.warnings.values() {
            let since = moment(warning.since_ms, self.now_ms);
            writeln!(self.text, "  {}  {DIM}(since {since}){DIM:#}", warning.words)?;
        }
        Ok(())
    }

    fn line(&mut self, label: &str, words: impl Display) -> fmt::Result {
        let label = format!("{label:LABEL$}");
        writeln!(self.text, "{HEAD}{label}{HEAD:#} {words}")
    }
}

fn gate(listener: &Listener) -> String {
    let mut words = listener.endpoint.clone();
    if let Some(only) = &listener.only {
        words += &format!(", {only} alone");
    }
    match listener.gate.as_str() {
        "admin" => words += ", for this command",
        "tokens" => words += ", with a token",
        _ => {}
    }
    if listener.adopted {
        words += ", from the service manager";
    }
    words
}

fn fill(tier: &Tier) -> String {
    let full = percent(tier.bytes, tier.bound_bytes);
    let mut words =
        format!("{} of {}, {full}, {}", size(tier.bytes), size(tier.bound_bytes), entries(tier.entries));
    if tier.evictions > 0 {
        words += &format!(", {} evicted since start", tier.evictions);
    }
    words
}

fn queue(queue: &Queue) -> String {
    let mut words = match (queue.known, queue.entries) {
        (Some(false), _) => return "is being read".to_owned(),
        (_, 0) => return "empty".to_owned(),
        (_, waiting) => format!("{}, {}", entries(waiting), size(queue.bytes)),
    };
    if let Some(oldest) = queue.oldest_ms {
        words += &format!(", the oldest for {}", age(oldest));
    }
    match queue.empty_in_s {
        Some(seconds) => {
            let (bytes, rate) = (size(queue.bytes_per_s), queue.entries_per_s);
            let left = age(seconds.max(1).saturating_mul(1000));
            words += &format!("; {bytes}/s, {rate:.1} entries/s, empty in {left}");
        }
        None => words += "; nothing goes",
    }
    words
}

fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

#[cfg(test)]
mod tests;
