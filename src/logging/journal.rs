//! systemd's journal by its native protocol: an entry for each event, its fields beside its words.

use std::io;

use tracing_journald::{Layer, Priority, PriorityMappings};

/// Before the names of fields that are ours: `upstream` is `LARDER_UPSTREAM`.
const PREFIX: &str = "LARDER";

/// To the journal of this machine.
///
/// # Errors
/// When there is none.
pub(super) fn layer() -> io::Result<Layer> {
    let priorities = PriorityMappings {
        error: Priority::Error,
        warn: Priority::Warning,
        info: Priority::Informational,
        debug: Priority::Debug,
        trace: Priority::Debug,
    };
    Ok(tracing_journald::layer()?
        .with_field_prefix(Some(PREFIX.to_owned()))
        .with_syslog_identifier("larder".to_owned())
        .with_priority_mappings(priorities))
}

/// Whether `stream`, as `JOURNAL_STREAM` has it (device and inode), is our standard error: a child with a pipe there
/// inherits the variable and not the stream.
pub(super) fn is_standard_error(stream: &str) -> bool {
    let Some((device, inode)) = stream.split_once(':') else { return false };
    let found = rustix::fs::fstat(rustix::stdio::stderr());
    found.is_ok_and(|found| device.parse() == Ok(found.st_dev) && inode.parse() == Ok(found.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_names_our_stream_is_ours() {
        let found = rustix::fs::fstat(rustix::stdio::stderr()).expect("we have one");
        assert!(is_standard_error(&format!("{}:{}", found.st_dev, found.st_ino)));
        for other in ["", "x", "1:x", ":", &format!("{}:{}", found.st_dev, found.st_ino + 1)] {
            assert!(!is_standard_error(other), "{other}");
        }
    }
}
