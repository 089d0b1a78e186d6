//! What is logged: as it is configured, and for a while otherwise.

use std::sync::OnceLock;

use parking_lot::Mutex;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::error::{Error, Kind, Result};

/// The filters of the process, which has one log.
static FILTERS: OnceLock<Filters> = OnceLock::new();

struct Filters {
    handle: reload::Handle<EnvFilter, Registry>,
    /// A leaf mutex.
    state: Mutex<State>,
}

struct State {
    configured: String,
    /// Another one is in force for now.
    is_other: bool,
}

/// The log has begun with this filter.
pub(super) fn begun(handle: reload::Handle<EnvFilter, Registry>, filter: &str) {
    let state = Mutex::new(State { configured: filter.to_owned(), is_other: false });
    // A second log of a process is refused before.
    let _ = FILTERS.set(Filters { handle, state });
}

/// From now on this is logged; where another filter is in force for a while, when that is over. Nothing happens in a
/// process that hasn't begun to log.
///
/// # Errors
/// `Invalid` when the filter doesn't parse; the old one stays.
pub(crate) fn set_filter(filter: &str) -> Result<()> {
    let parsed = parse(filter)?;
    let Some(filters) = FILTERS.get() else { return Ok(()) };
    let mut state = filters.state.lock();
    if !state.is_other {
        filters.apply(parsed)?;
    }
    filter.clone_into(&mut state.configured);
    Ok(())
}

/// This is logged until [`revert`].
///
/// # Errors
/// `Invalid` when the filter doesn't parse; the old one stays.
pub(crate) fn set_for_now(filter: &str) -> Result<()> {
    let parsed = parse(filter)?;
    let Some(filters) = FILTERS.get() else { return Ok(()) };
    let mut state = filters.state.lock();
    filters.apply(parsed)?;
    state.is_other = true;
    Ok(())
}

/// What is configured is logged again.
///
/// # Errors
/// None that a caller can cause.
pub(crate) fn revert() -> Result<()> {
    let Some(filters) = FILTERS.get() else { return Ok(()) };
    let mut state = filters.state.lock();
    filters.apply(parse(&state.configured)?)?;
    state.is_other = false;
    Ok(())
}

/// What is configured; empty in a process that hasn't begun to log.
pub(crate) fn configured() -> String {
    FILTERS.get().map_or_else(String::new, |filters| filters.state.lock().configured.clone())
}

/// Whether a filter can be read; else why not.
pub(crate) fn check(filter: &str) -> Result<(), String> {
    let words = |error| format!("{error}; write it as info,larder::access=debug");
    EnvFilter::builder().parse(filter).map(|_| ()).map_err(words)
}

pub(super) fn parse(filter: &str) -> Result<EnvFilter> {
    check(filter).map_err(|words| Error::invalid(format!("the log's filter can't be read: {words}")))?;
    EnvFilter::try_new(filter)
        .map_err(|error| Error::new(Kind::Invalid, "read the log's filter").because(error))
}

// === impl Filters ===

impl Filters {
    fn apply(&self, filter: EnvFilter) -> Result<()> {
        self.handle
            .reload(filter)
            .map_err(|error| Error::new(Kind::Internal, format!("change the log's filter: {error}")))
    }
}
