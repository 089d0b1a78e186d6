//! Each way in which a file is changed, and what is no change.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::Instant;

use tempfile::TempDir;

use super::*;

/// A watch on a thread of its own, as the daemon has it.
struct Watched {
    bell: Arc<Bell>,
    calls: std::sync::mpsc::Receiver<Why>,
}

impl Watched {
    fn new(files: Vec<PathBuf>, poll: Duration, events: bool) -> Self {
        let bell = Arc::new(Bell::default());
        let (tell, calls) = std::sync::mpsc::channel();
        let (rings, of_thread) = (Arc::clone(&bell), files.clone());
        std::thread::spawn(move || {
            let mut watch = Watch::new(rings, of_thread, poll, events);
            loop {
                let why = watch.next();
                watch.set(files.clone());
                if tell.send(why).is_err() || why == Why::End {
                    return;
                }
            }
        });
        // What has just been read has not been looked at: it is, once.
        bell.ask();
        let watched = Self { bell, calls };
        assert_eq!(watched.call(), Why::Asked);
        watched
    }

    fn call(&self) -> Why {
        self.calls.recv_timeout(Duration::from_secs(30)).expect("it is noticed")
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.bell.end();
    }
}

/// Longer than any test: only events can tell.
const NEVER: Duration = Duration::from_secs(3600);

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Where the platform's temporary folder is behind a link, events name the folder itself.
    let path = folder.path().canonicalize().expect("it is there");
    (folder, path)
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("a temporary file");
}

#[test]
fn every_way_to_change_a_file_is_told_by_an_event() {
    let (_folder, at) = folder();
    let file = at.join("larder.toml");
    write(&file, "1");
    let watched = Watched::new(vec![file.clone()], NEVER, true);
    write(&file, "22");
    assert_eq!(watched.call(), Why::Changed, "written in place");
    write(&at.join("new"), "3");
    fs::rename(at.join("new"), &file).expect("renamed");
    assert_eq!(watched.call(), Why::Changed, "renamed over");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("set");
    assert_eq!(watched.call(), Why::Changed, "another mode");
    fs::remove_file(&file).expect("removed");
    assert_eq!(watched.call(), Why::Changed, "removed");
    write(&file, "4");
    assert_eq!(watched.call(), Why::Changed, "made again");
    fs::remove_file(&file).expect("removed");
    fs::create_dir(&file).expect("made");
    assert_eq!(watched.call(), Why::Changed, "a folder in its place");
}

#[test]
fn links_on_the_way_are_followed() {
    let (_folder, at) = folder();
    for version in ["v1", "v2"] {
        fs::create_dir(at.join(version)).expect("made");
        write(&at.join(version).join("larder.toml"), version);
    }
    // As Kubernetes mounts a ConfigMap: file -> ..data/file, ..data -> a folder of the version.
    fs::create_dir(at.join("mount")).expect("made");
    symlink("../v1", at.join("mount/..data")).expect("linked");
    symlink("..data/larder.toml", at.join("mount/larder.toml")).expect("linked");
    let watched = Watched::new(vec![at.join("mount/larder.toml")], NEVER, true);
    symlink("../v2", at.join("mount/..data_tmp")).expect("linked");
    fs::rename(at.join("mount/..data_tmp"), at.join("mount/..data")).expect("renamed");
    assert_eq!(watched.call(), Why::Changed, "another version");
    write(&at.join("v2/larder.toml"), "v2, written in place");
    assert_eq!(watched.call(), Why::Changed, "the folder that the link leads to is watched");
    symlink("larder.toml", at.join("mount/self")).expect("linked");
    fs::rename(at.join("mount/self"), at.join("mount/larder.toml")).expect("renamed");
    assert_eq!(watched.call(), Why::Changed, "a link to itself");
}

#[test]
fn what_happens_beside_it_and_reading_it_is_no_change() {
    let (_folder, at) = folder();
    let (file, tokens) = (at.join("larder.toml"), at.join("tokens"));
    write(&file, "1");
    write(&tokens, "1");
    let watched = Watched::new(vec![file.clone(), tokens.clone()], NEVER, true);
    for n in 0..10 {
        write(&at.join("neighbour"), &n.to_string());
        fs::read(&file).expect("it is there");
    }
    write(&file, "1");
    write(&tokens, "2");
    assert_eq!(watched.call(), Why::Changed);
    assert!(watched.calls.try_recv().is_err(), "once, for the tokens");
}

#[test]
fn a_file_that_is_still_written_is_read_when_it_is_closed() {
    use std::io::Write as _;
    let (_folder, at) = folder();
    let file = at.join("larder.toml");
    write(&file, "1");
    let watched = Watched::new(vec![file.clone()], NEVER, true);
    let mut writer = File::create(&file).expect("truncated");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(300) {
        writer.write_all(b"x").expect("written");
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let before = watched.calls.try_recv();
    drop(writer);
    // A machine that was busy for longer than the longest wait has read the half of it.
    assert!(
        before.is_err() || begun.elapsed() > Duration::from_millis(900),
        "half a file was read: {before:?}"
    );
    assert_eq!(watched.call(), Why::Changed);
}

#[test]
fn without_events_a_look_now_and_then_tells() {
    let (_folder, at) = folder();
    let file = at.join("larder.toml");
    write(&file, "1");
    let watched = Watched::new(vec![file.clone()], Duration::from_millis(20), false);
    write(&file, "2");
    assert_eq!(watched.call(), Why::Changed);
    fs::remove_file(&file).expect("removed");
    assert_eq!(watched.call(), Why::Changed);
    assert!(watched.calls.recv_timeout(Duration::from_millis(100)).is_err(), "and only once");
}

#[test]
fn a_pipe_is_not_read() {
    let (_folder, at) = folder();
    let pipe = at.join("pipe");
    // `rustix` has no such call on macOS.
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.is_ok_and(|status| status.success()));
    assert!(matches!(Seen::of(&pipe), Seen::Other(_)));
    assert!(matches!(Seen::of(&at.join("absent")), Seen::Unreadable(Some(2))));
}
