//! Keys of a bucket that end soon: a command prints the next one each time, in the form of `credential_process`, and a
//! store behind a proxy refuses those that are over, by the number in the key's name.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use super::fault::{Fault, Plan};
use super::setup::Setup;
use super::weed::Keys;
use super::wire::Head;

/// A command and the keys that it has given.
#[derive(Debug)]
pub(crate) struct Rotation {
    name: String,
    folder: PathBuf,
    known: Arc<Mutex<Known>>,
}

/// What the store knows of keys with one name.
#[derive(Debug, Default)]
struct Known {
    /// Where the command notes number and end of each.
    log: PathBuf,
    /// In milliseconds since 1970.
    ends: HashMap<u64, u128>,
    /// Those that requests were signed with.
    used: BTreeSet<u64>,
    /// Requests with keys that were over.
    struck: u64,
}

/// All that run, by name: a plan asks a function for its verdict, and each test has keys of its own.
static ALL: Mutex<Vec<(String, Arc<Mutex<Known>>)>> = Mutex::new(Vec::new());

/// Refuses whoever signs with a key that is over.
pub(crate) const ENFORCED: Plan = Plan { fault: Fault::EXPIRED_TOKEN, strikes: is_over };

/// Whether a request is signed with a key that is over.
pub(crate) fn is_over(request: &Head) -> bool {
    let signed = || {
        let (_, rest) = request.header("authorization")?.split_once("Credential=AK")?;
        let (name, number) = rest.split('/').next()?.split_once('-')?;
        let known = ALL.lock().iter().find(|(known, _)| known == name).map(|(_, known)| Arc::clone(known))?;
        Some((known, number.parse::<u64>().ok()?))
    };
    signed().is_some_and(|(known, number)| known.lock().is_over(number))
}

// === impl Rotation ===

impl Rotation {
    /// Keys that live for `life`, printed by a command in the setup's folder. No two tests take the same name.
    pub(crate) fn new(setup: &Setup, name: &str, life: Duration) -> Self {
        let folder = setup.path("rotation");
        fs::create_dir(&folder).expect("a temporary folder");
        let log = folder.join("issued");
        fs::write(&log, "").expect("a temporary file");
        fs::write(folder.join("count"), "0\n").expect("a temporary file");
        let known = Arc::new(Mutex::new(Known { log, ..Known::default() }));
        ALL.lock().push((name.to_owned(), Arc::clone(&known)));
        let rotation = Self { name: name.to_owned(), folder, known };
        rotation.write(life);
        rotation
    }

    fn write(&self, life: Duration) {
        let script = format!(
            r#"
cd {folder}
if [ -e hang ]; then echo $$ > hanging.new; mv hanging.new hanging; read line < fifo; fi
if [ -e broken ]; then echo "no session: run corp-login; token=secret-of-{name}" >&2; exit 1; fi
read n < count; n=$((n + 1)); echo $n > count
set -- $(date -u -d '+{life} seconds' '+%s%3N %Y-%m-%dT%H:%M:%S.%3NZ')
echo "$n $1" >> issued
printf '{{"Version":1,"AccessKeyId":"AK{name}-%s","SecretAccessKey":"secret-of-{name}-%s","Expiration":"%s"}}' $n $n $2
"#,
            folder = self.folder.display(),
            name = self.name,
            life = life.as_secs_f32(),
        );
        fs::write(self.folder.join("keys.sh"), script).expect("a temporary file");
    }

    /// As many keys, for the store to know.
    pub(crate) fn keys(name: &str, count: usize) -> Vec<Keys> {
        (1..=count).map(|number| Keys::new(&format!("{name}-{number}"))).collect()
    }

    /// What is stored to have the command run.
    pub(crate) fn document(&self) -> String {
        format!(r#"{{"kind":"aws-process","command":"sh {}"}}"#, self.folder.join("keys.sh").display())
    }

    /// Whether the key of this number is over.
    pub(crate) fn is_over(&self, number: u64) -> bool {
        self.known.lock().ends.get(&number).is_some_and(|end| *end <= now())
    }

    /// Whether the last key that was given is over.
    pub(crate) fn last_is_over(&self) -> bool {
        let mut known = self.known.lock();
        known.read();
        let end = known.ends.values().max();
        end.is_some_and(|end| *end <= now())
    }

    /// Requests that were signed with keys that were over.
    pub(crate) fn struck(&self) -> u64 {
        self.known.lock().struck
    }

    /// The keys that requests were signed with.
    pub(crate) fn used(&self) -> BTreeSet<u64> {
        self.known.lock().used.clone()
    }

    /// The command hangs from now on, until it is let go or killed.
    pub(crate) fn hang_it(&self) {
        let made = Command::new("mkfifo").arg(self.folder.join("fifo")).status();
        assert!(made.is_ok_and(|status| status.success()), "a pipe is made");
        fs::write(self.folder.join("hang"), "").expect("a temporary file");
    }

    /// Whether it hangs now.
    pub(crate) fn hangs(&self) -> bool {
        let Ok(id) = fs::read_to_string(self.folder.join("hanging")) else { return false };
        let line = fs::read(format!("/proc/{}/cmdline", id.trim())).unwrap_or_default();
        String::from_utf8_lossy(&line).contains("keys.sh")
    }

    /// It hangs no more.
    pub(crate) fn let_go(&self) {
        fs::remove_file(self.folder.join("hang")).expect("our own");
        fs::write(self.folder.join("fifo"), "go\n").expect("it waits for this");
    }

    /// The command fails from now on, in words with a secret in them.
    pub(crate) fn break_it(&self) {
        fs::write(self.folder.join("broken"), "").expect("a temporary file");
    }

    /// It works again.
    pub(crate) fn mend_it(&self) {
        fs::remove_file(self.folder.join("broken")).expect("our own");
    }
}

impl Drop for Rotation {
    fn drop(&mut self) {
        ALL.lock().retain(|(_, known)| !Arc::ptr_eq(known, &self.known));
    }
}

// === impl Known ===

impl Known {
    fn is_over(&mut self, number: u64) -> bool {
        self.used.insert(number);
        if !self.ends.contains_key(&number) {
            self.read();
        }
        let is_over = self.ends.get(&number).is_none_or(|end| *end <= now());
        self.struck += u64::from(is_over);
        is_over
    }

    fn read(&mut self) {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let rows = text.lines().filter_map(|line| line.split_once(' '));
        let numbers =
            |(number, end): (&str, &str)| Some((number.parse::<u64>().ok()?, end.parse::<u128>().ok()?));
        self.ends.extend(rows.filter_map(numbers));
    }
}

fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis()
}
