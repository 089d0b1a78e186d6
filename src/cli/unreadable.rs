//! What this process holds is for nobody else to read: it leaves no core file, and no other process of its user may look
//! into its memory.
//!
//! The daemon has the keys of its upstreams in memory, decrypted, for as long as it signs with them; a page that is left
//! out of core files would not do, as the buffers of HTTP, TLS and of a command's answer hold them, too. So on Linux the
//! whole process is made not dumpable: the kernel writes no core of it, whatever limits and `core_pattern` say, and
//! refuses `ptrace`, `/proc/PID/mem` and `/proc/PID/environ` to everybody but root. (Its own `/proc/self/fd` and what is
//! open to all there, as `stat`, `status` and `limits`, can be read as before, which is all that is read here.) Everywhere
//! it may leave no core by its limit, which commands that it starts inherit: they hold credentials, too, and are dumpable
//! again.
//!
//! Who debugs says `LARDER_DUMPABLE=1`: then all is as the machine has it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::complain;

/// Closes this process to others; to be called before it reads a secret.
pub(super) fn become_so() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
            complain(&format!("core files of this process may hold secrets: {error}"));
        }
    }
    let now = getrlimit(Resource::Core);
    if now.current == Some(0) {
        // systemd refuses the call where it has seen to it: `LimitCORE=0`.
        return;
    }
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: now.maximum }) {
        complain(&format!(
            "core files of what this process starts may hold secrets: {error}; set LimitCORE=0"
        ));
    }
}
