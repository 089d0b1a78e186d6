//! A client of the Remote Execution API in Python, over Google's own gRPC: it does what the build tools at hand don't.

use std::path::Path;
use std::process::{Command, Stdio};

use super::{HUNG_SECONDS, tool};
use crate::support::wire::Addr;

/// Plays a scenario of the script, or a module of them, against the server at `addr`.
///
/// # Panics
/// With all the script says, when the server did something other than what they expect.
#[track_caller]
pub(crate) fn play(what: &str, addr: &Addr) {
    let address = match addr {
        Addr::Tcp(addr) => addr.to_string(),
        Addr::Unix(path) => format!("unix:{}", path.display()),
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/tools/reapi");
    let casd = tool("buildbox-casd");
    let tools = casd.parent().and_then(Path::parent).expect("two levels up");
    let output = Command::new("timeout")
        .args(["--foreground", "--signal=KILL", HUNG_SECONDS])
        .arg(tools.join("venv/bin/python"))
        .arg("-B")
        .arg(script)
        .args([&address, what])
        .stdin(Stdio::null())
        .output()
        .expect("a process can be started");
    assert!(
        output.status.success(),
        "{what}: {:?}\n{}{}",
        output.status.code(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}
