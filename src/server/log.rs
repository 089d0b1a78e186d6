//! What is logged, changed for a while by the admin socket: what is looked for is found, and no disk fills up because
//! somebody forgot.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::notices::Notices;
use crate::error::{Error, Result};

/// How the log's filter is changed. The server knows nothing else of logs.
#[derive(Debug, Clone, Copy)]
pub struct LogSwitch {
    /// This is logged until `revert`.
    pub set: fn(&str) -> Result<()>,
    /// What is configured is logged again.
    pub revert: fn() -> Result<()>,
    /// What is configured.
    pub configured: fn() -> String,
}

/// The log's filter.
#[derive(Debug)]
pub(super) struct Log {
    switch: Option<LogSwitch>,
    notices: Notices,
    /// A leaf mutex.
    other: Mutex<Other>,
}

#[derive(Debug, Default)]
struct Other {
    /// Counts changes: a time that is up ends only the filter that it was for.
    number: u64,
    now: Option<(String, u64)>,
}

/// What is asked of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    Show,
    /// This filter, for this time.
    Set(String, Duration),
    /// What is configured.
    Revert,
}

/// A filter is in force for a while no longer than this.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The name of its warning.
const NOTICE: &str = "log";

// === impl Log ===

impl Log {
    pub(super) fn new(switch: Option<LogSwitch>, notices: Notices) -> Arc<Self> {
        Arc::new(Self { switch, notices, other: Mutex::default() })
    }

    /// Does what is asked; what is logged then.
    ///
    /// # Errors
    /// `Invalid` when the filter can't be read.
    pub(super) fn answer(self: &Arc<Self>, wish: Wish) -> Result<Value> {
        let switch =
            self.switch.ok_or_else(|| Error::invalid("this process has no log that can be changed"))?;
        match wish {
            Wish::Show => {}
            Wish::Set(filter, time) => self.set(switch, filter, time.min(LONGEST))?,
            Wish::Revert => self.end(switch, None)?,
        }
        let now = self.other.lock().now.clone();
        let temporary = now.map(|(filter, until_ms)| json!({ "filter": filter, "until_ms": until_ms }));
        Ok(json!({ "configured": (switch.configured)(), "temporary": temporary }))
    }

    fn set(self: &Arc<Self>, switch: LogSwitch, filter: String, time: Duration) -> Result<()> {
        (switch.set)(&filter)?;
        tracing::info!(filter, seconds = time.as_secs(), "the log's filter is another for a while");
        let words = format!(
            "`{filter}` is logged instead of what is configured, for {} s; `larder log --end` ends it",
            time.as_secs()
        );
        self.notices.warn(NOTICE, None);
        self.notices.warn(NOTICE, Some(words));
        let until = SystemTime::now() + time;
        let until_ms = until.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let number = {
            let mut other = self.other.lock();
            other.number += 1;
            other.now = Some((filter, until_ms));
            other.number
        };
        let log = Arc::clone(self);
        // It ends with the runtime, and then with the process.
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            if let Err(error) = log.end(switch, Some(number)) {
                tracing::warn!(%error, "the log's filter can't be set back");
            }
        });
        Ok(())
    }

    /// Back to what is configured; of a filter whose time is up, unless it is another by now.
    fn end(&self, switch: LogSwitch, number: Option<u64>) -> Result<()> {
        let mut other = self.other.lock();
        if number.is_some_and(|number| number != other.number) {
            return Ok(());
        }
        (switch.revert)()?;
        other.number += 1;
        other.now = None;
        drop(other);
        self.notices.warn(NOTICE, None);
        tracing::info!("the log's filter is what is configured");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets this time pass, and what waited for it run.
    async fn pass(time: Duration) {
        tokio::task::yield_now().await;
        tokio::time::advance(time).await;
        tokio::task::yield_now().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_filter_ends_with_its_own_time_and_not_with_an_earlier_ones() {
        let notices = Notices::default();
        let switch = LogSwitch {
            set: |filter| if filter == "bad" { Err(Error::invalid("bad")) } else { Ok(()) },
            revert: || Ok(()),
            configured: || "info".to_owned(),
        };
        let log = Log::new(Some(switch), notices.clone());
        let filter = |log: &Arc<Log>| {
            let page = log.answer(Wish::Show).expect("it shows");
            page["temporary"]["filter"].as_str().map(str::to_owned)
        };
        let minute = Duration::from_secs(60);
        assert!(log.answer(Wish::Set("bad".into(), minute)).is_err());
        assert_eq!((filter(&log), notices.warnings().len()), (None, 0));
        log.answer(Wish::Set("debug".into(), minute)).expect("it is set");
        pass(minute / 2).await;
        log.answer(Wish::Set("trace".into(), minute)).expect("it is set");
        pass(minute * 3 / 4).await;
        assert_eq!(filter(&log).as_deref(), Some("trace"), "the first one's time is up");
        assert_eq!(notices.warnings().len(), 1);
        pass(minute / 2).await;
        assert_eq!((filter(&log), notices.warnings().len()), (None, 0));
        log.answer(Wish::Set("debug".into(), minute)).expect("it is set");
        log.answer(Wish::Revert).expect("it ends");
        assert_eq!((filter(&log), notices.warnings().len()), (None, 0));
    }
}
