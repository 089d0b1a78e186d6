//! A client of the Remote Execution API in Python, over Google's own gRPC: it does what the build tools at hand don't.

use std::path::Path;
use std::process::{Command, Stdio};

use super::{HUNG_SECONDS, tool};

/// Plays one of the script's scenarios against the server at `address`, which is `host:port` or `unix:/path`.
///
/// # Panics
/// With all the script says, when the server did something other than what the scenario expects.
#[track_caller]
pub(crate) fn play(scenario: &str, address: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/tools/reapi");
    let casd = tool("buildbox-casd");
    let tools = casd.parent().and_then(Path::parent).expect("two levels up");
    let output = Command::new("timeout")
        .args(["--foreground", "--signal=KILL", HUNG_SECONDS])
        .arg(tools.join("venv/bin/python"))
        .arg("-B")
        .arg(script)
        .args([address, scenario])
        .stdin(Stdio::null())
        .output()
        .expect("a process can be started");
    assert!(
        output.status.success(),
        "{scenario}: {:?}\n{}{}",
        output.status.code(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}
