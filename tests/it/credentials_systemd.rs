//! Credentials that a real systemd gives the machine's daemon: plain ones, and encrypted ones that no file has in clear.

use std::process::Output;

use crate::support::desk::words;
use crate::support::machine::{ADA, Machine};
use crate::support::{PATIENCE, until};

/// A cache on the machine that lets in by token only, as another service of root's, and the daemon before it.
const SET_UP: &str = r#"set -e
cat > /etc/hub.toml <<X
listen = ["127.0.0.1:6001"]
[[listeners]]
address = "0.0.0.0:6000"
insecure = true
X
systemd-run --quiet --unit=hub -p Environment=HOME=/root larder serve --config /etc/hub.toml --dir /var/hub
for n in $(seq 600); do larder queue --dir /var/hub >/dev/null 2>&1 && break; sleep 0.1; done
larder service install --system >/dev/null
mkdir -p /etc/systemd/system/larder.service.d /etc/larder
for name in plain sealed; do
  token=$(larder token new --bearer $name --dir /var/hub 2>/dev/null)
  printf '{"kind":"token","token":"%s"}' "$token" > /etc/larder/$name.cred
done
systemd-creds encrypt --with-key=host --name=larder.sealed /etc/larder/sealed.cred /etc/larder/encrypted.cred
rm /etc/larder/sealed.cred
chmod 600 /etc/larder/*.cred
cat > /etc/systemd/system/larder.service.d/credentials.conf <<X
[Service]
LoadCredential=larder.plain:/etc/larder/plain.cred
LoadCredentialEncrypted=larder.sealed:/etc/larder/encrypted.cred
X
cat > /etc/larder/larder.toml <<X
access.users = ["ada"]
[upstreams.one]
url = "http://127.0.0.1:6000?allow_http=true"
credential = "plain"
[upstreams.two]
url = "http://localhost:6000?allow_http=true"
credential = "sealed"
[upstreams.three]
url = "http://127.0.0.1:6002?allow_http=true"
credential = "absent"
[namespaces.one]
upstream = "one"
[namespaces.two]
upstream = "two"
[namespaces.three]
upstream = "three"
X
systemctl daemon-reload
larder service start --system"#;

/// The same of a user's.
const OF_A_USER: &str = r#"larder service install --no-linger >/dev/null
mkdir -p ~/.config/systemd/user/larder.service.d
printf '{"kind":"token","token":"of-mine"}' > ~/mine.cred
cat > ~/.config/systemd/user/larder.service.d/credentials.conf <<X
[Service]
LoadCredential=larder.mine:/home/ada/mine.cred
X
systemctl --user daemon-reload
larder service start"#;

#[track_caller]
fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", words(output));
    words(output)
}

#[test]
fn a_daemon_signs_with_what_systemd_gives_it_and_the_list_says_where_that_is() {
    let Some(machine) = Machine::boot() else { return };
    let root = |script: &str| machine.root(&["sh", "-c", script]);
    done(&root(SET_UP));
    for name in ["one", "two"] {
        let entry = format!("http://127.0.0.1:5273/blob/{name}/x");
        let put = machine.curl(ADA, &["-T", "/etc/machine-id", &entry]);
        assert!(put.as_ref().is_ok_and(|text| text.contains("200")), "{put:?}");
    }
    until("the cache has both", PATIENCE, || {
        ["one", "two"].iter().all(|name| {
            let entry = format!("http://127.0.0.1:6001/blob/{name}/x");
            done(&machine.root(&["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", &entry])) == "200"
        })
    });

    let list = done(&root("larder credentials --system"));
    for (name, user) in [("plain", "one"), ("sealed", "two")] {
        let line = list.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{list}"));
        let place = format!("by systemd in /run/credentials/larder.service/larder.{name}");
        assert!(line.contains(&place) && line.contains(&format!("used by {user}")), "{list}");
    }
    assert!(list.contains("not stored: run `larder login absent`"), "{list}");
    let refused = root("larder logout plain --system");
    assert!(!refused.status.success() && words(&refused).contains("take it out"), "{}", words(&refused));
    // Who may not look is not told that there are none.
    let hidden = machine.user(ADA, &["larder", "credentials", "--system"]);
    let said = words(&hidden);
    assert!(!hidden.status.success() && said.contains("not to be seen from here"), "{said}");
    assert!(said.contains("not all is shown") && !said.contains("larder login"), "{said}");

    // A restart after a change of the file, as systemd reads it at the start.
    done(&root("systemctl restart larder && larder credentials --system | grep -q sealed"));
    done(&root("larder service uninstall --system --purge --force"));
    let gone = done(&root("ls /run/credentials 2>/dev/null | grep larder || echo none"));
    assert_eq!(gone.trim(), "none");

    // A user's own manager gives plain ones.
    machine.sign_in("ada");
    let ada =
        |script: &str| machine.user(ADA, &["env", "XDG_RUNTIME_DIR=/run/user/4273", "sh", "-ec", script]);
    done(&ada(OF_A_USER));
    let list = done(&ada("larder credentials"));
    assert!(
        list.contains("mine  token  by systemd in /run/user/4273/credentials/larder.service/larder.mine"),
        "{list}"
    );
}
