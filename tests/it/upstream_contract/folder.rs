//! What a folder upstream makes of a folder that others touch, and of one that isn't there.

use std::fs;
use std::path::Path;

use larder::upstream::{Credentials, Failure, Looked, PutOptions, Remote, Word};
use tempfile::TempDir;

use super::{World, attrs, bytes, get, is_absent, name, put, put_with, there, words};

fn over(world: &World, folder: &Path) -> Remote {
    world.remote(&format!("file://{}", folder.display()), Credentials::Anonymous)
}

#[test]
fn a_folder_that_is_not_there_is_a_state_and_never_absence() {
    let above = TempDir::new().unwrap();
    let root = above.path().join("share");
    let world = World::new();
    let remote = over(&world, &root);
    world.run(async {
        assert!(words(get(&remote, "x").await).contains("mount"), "a read");
        assert!(words(remote.head(&name("x")).await).contains("mount"), "a look");
        assert!(words(put(&remote, "x", "1").await).contains("mkdir -p"), "a write");
        assert!(words(remote.delete(&name("x")).await).contains("mount"), "a delete");
        assert!(!root.exists(), "it is never made by us");
        words(remote.list("", None, 1).await);
        let read = remote.states().read;
        assert!(read.word == Word::Down && read.words.starts_with("read down since "), "{read:?}");
        fs::create_dir(&root).unwrap();
        super::becomes(&remote, "the folder is there", Remote::readable).await;
        put(&remote, "x", "1").await.unwrap();
        assert_eq!(&bytes(get(&remote, "x").await).await[..], b"1");
    });
}

#[test]
fn an_empty_mount_point_is_not_the_folder_that_was_there() {
    let above = TempDir::new().unwrap();
    let root = above.path().join("share");
    fs::create_dir(&root).unwrap();
    let world = World::new();
    let remote = over(&world, &root);
    world.run(async {
        put(&remote, "x", "1").await.unwrap();
        // Unmounted: what is below shows.
        fs::rename(&root, above.path().join("mounted")).unwrap();
        fs::create_dir(&root).unwrap();
        assert!(words(get(&remote, "y").await).contains("is it mounted?"));
        assert!(words(put(&remote, "y", "1").await).contains("is it mounted?"));
        assert!(fs::read_dir(&root).unwrap().next().is_none(), "nothing is written below");
        fs::remove_dir(&root).unwrap();
        fs::rename(above.path().join("mounted"), &root).unwrap();
        assert_eq!(&bytes(get(&remote, "x").await).await[..], b"1");
    });
}

#[test]
fn files_of_other_tools_are_objects_without_attributes() {
    let root = TempDir::new().unwrap();
    let world = World::new();
    let remote = over(&world, root.path());
    world.run(async {
        fs::create_dir_all(root.path().join("cas/ab")).unwrap();
        fs::write(root.path().join("cas/ab/foreign"), "theirs").unwrap();
        let object = there(get(&remote, "cas/ab/foreign").await);
        assert!(object.meta.attrs.is_empty() && object.meta.etag.is_some());
        assert_eq!(&object.body.collect(6).await.unwrap()[..], b"theirs");

        // Replaced behind our back: the meta is of bytes that are gone.
        let ours = PutOptions { attrs: attrs(&[("a", "1")]), ..PutOptions::default() };
        let done = put_with(&remote, "cas/ab/x", "ours", ours).await.unwrap();
        fs::remove_file(root.path().join("cas/ab/x")).unwrap();
        fs::write(root.path().join("cas/ab/x"), "not ours").unwrap();
        let Ok(Looked::Found(meta)) = remote.head(&name("cas/ab/x")).await else { panic!("it is there") };
        assert!(meta.attrs.is_empty() && meta.etag != done.etag && meta.len == 8);
        assert_eq!(meta.stated.crc32c, None);
    });
}

#[test]
fn names_that_a_folder_can_not_keep_are_refused_for_good_and_absent() {
    let root = TempDir::new().unwrap();
    let world = World::new();
    let remote = over(&world, root.path());
    world.run(async {
        put(&remote, "a", "1").await.unwrap();
        put(&remote, "b/c", "1").await.unwrap();
        for object in ["a.meta", ".larder/x", ".larder", "a/below", "b", &"n".repeat(300)] {
            let done = put(&remote, object, "1").await;
            assert!(matches!(done, Err(Failure::Refused(_))), "{object}: {done:?}");
            assert!(is_absent(&get(&remote, object).await), "{object}");
        }
        assert!(remote.writable());
        assert_eq!(&bytes(get(&remote, "a").await).await[..], b"1");
    });
}

#[test]
fn a_listing_is_in_the_order_of_whole_names() {
    let root = TempDir::new().unwrap();
    let world = World::new();
    let remote = over(&world, root.path());
    world.run(async {
        let names = ["a-b", "a.b", "a/x", "a/y/z", "a0", "ab/c"];
        for object in names.iter().rev() {
            put(&remote, object, "1").await.unwrap();
        }
        for (at, after) in names.iter().enumerate() {
            let listed = remote.list("a", Some(after), 100).await.unwrap();
            let listed: Vec<String> = listed.into_iter().map(|row| row.name.to_string()).collect();
            assert_eq!(listed, names[at + 1..], "after {after}");
        }
    });
}

#[test]
fn a_body_that_is_cut_while_it_is_read_is_an_error() {
    let root = TempDir::new().unwrap();
    let world = World::new();
    let remote = over(&world, root.path());
    world.run(async {
        put(&remote, "x", vec![7; 4 << 20]).await.unwrap();
        let object = there(get(&remote, "x").await);
        fs::File::options().write(true).open(root.path().join("x")).unwrap().set_len(1 << 20).unwrap();
        let error = object.body.collect(4 << 20).await.unwrap_err();
        assert!(error.to_string().contains("folder upstream"), "{error}");
    });
}
