//! What is issued counts at once, and only what is issued.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn wish(door: Door, place: &str) -> Wish {
    Wish { door, place: place.into(), access: Access::ReadOnly, expires: None }
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("our own file");
}

#[test]
fn what_is_issued_and_revoked_counts_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    let keyring = Keyring::open(&state);
    assert!(keyring.azure("cache").is_empty() && keyring.s3("LARDER").is_none() && !keyring.bearer("x"));

    let (azure, azure_secret) = issue(&state, wish(Door::Azure, "cache")).expect("issued");
    let found = keyring.azure("cache");
    assert_eq!(found.len(), 1);
    assert_eq!(
        (&found[0].id, &found[0].secret, found[0].access),
        (&azure.id, &azure_secret, Access::ReadOnly)
    );
    assert!(keyring.azure("other").is_empty());

    let (s3, s3_secret) = issue(&state, wish(Door::S3, "cache")).expect("issued");
    assert!(s3.id.len() == 20 && s3.id.starts_with("LARDER"), "{s3:?}");
    assert_eq!(keyring.s3(&s3.id).map(|grant| grant.secret), Some(s3_secret));
    assert_eq!(keyring.azure("cache").len(), 1, "of its own door only");

    let (bearer, token) = issue(&state, wish(Door::Bearer, "ci")).expect("issued");
    let token = String::from_utf8(token.bytes().to_vec()).expect("text");
    assert!(keyring.bearer(&token) && !keyring.bearer(&token[1..]) && !keyring.bearer(""));

    assert_eq!(list(&state).expect("a list").len(), 3);
    let none = revoke(&state, &[azure.id.clone(), "none".into()]).expect_err("unknown");
    assert!(none.kind() == Kind::Invalid && none.message().contains("token list"), "{none}");
    assert_eq!(list(&state).expect("a list").len(), 3, "all or none");
    revoke(&state, &[azure.id, bearer.id]).expect("revoked");
    assert!(keyring.azure("cache").is_empty() && !keyring.bearer(&token));
    assert!(keyring.s3(&s3.id).is_some());
}

#[test]
fn nothing_secret_lies_in_the_list_and_nobody_else_reads_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path();
    for door in [Door::Azure, Door::S3, Door::Bearer] {
        let (_, secret) = issue(state, wish(door, "cache")).expect("issued");
        let text = std::fs::read(state.join("tokens.json")).expect("a file");
        assert!(!text.windows(secret.bytes().len()).any(|part| part == secret.bytes()), "{door:?}");
    }
    for name in ["tokens.json", "master.key"] {
        let mode = std::fs::metadata(state.join(name)).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn files_that_others_can_read_or_that_are_damaged_are_refused_and_the_last_state_holds() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path();
    let keyring = Keyring::open(state);
    issue(state, wish(Door::Azure, "cache")).expect("issued");
    assert_eq!(keyring.azure("cache").len(), 1);
    let tokens = state.join("tokens.json");
    let text = std::fs::read(&tokens).expect("a file");

    std::fs::write(&tokens, &text[..text.len() / 2]).expect("written");
    assert_eq!(keyring.azure("cache").len(), 1, "what was read last");
    assert!(Keyring::open(state).azure("cache").is_empty(), "nothing was read yet");
    for error in [issue(state, wish(Door::S3, "x")).map(|_| ()), list(state).map(|_| ())] {
        let error = error.expect_err("damaged");
        assert!(error.kind() == Kind::Corrupt && error.message().contains("tokens.json"), "{error}");
    }
    std::fs::write(&tokens, &text).expect("written");
    for name in ["tokens.json", "master.key"] {
        set_mode(&state.join(name), 0o640);
        assert!(Keyring::open(state).azure("cache").is_empty(), "{name}");
        let error = issue(state, wish(Door::Azure, "x")).expect_err("open to others");
        assert!(error.message().contains("chmod 600") && error.message().contains(name), "{error}");
        set_mode(&state.join(name), 0o600);
    }
    std::fs::write(
        &tokens,
        String::from_utf8(text).expect("text").replace("\"version\": 1", "\"version\": 2"),
    )
    .expect("written");
    let error = issue(state, wish(Door::Azure, "x")).expect_err("newer");
    assert!(error.message().contains("newer"), "{error}");
}

#[test]
fn two_writers_lose_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..4 {
                    issue(state, wish(Door::S3, "cache")).expect("issued");
                }
            });
        }
    });
    let keyring = Keyring::open(state);
    let all = list(state).expect("a list");
    assert_eq!(all.len(), 32);
    assert!(all.iter().all(|issued| keyring.s3(&issued.id).is_some()), "one master key made them all");
}

#[test]
fn a_bearer_token_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path();
    let wish = Wish { expires: Some(now() - 1), ..wish(Door::Bearer, "ci") };
    let (_, token) = issue(state, wish).expect("issued");
    assert!(!Keyring::open(state).bearer(std::str::from_utf8(token.bytes()).expect("text")));
}
