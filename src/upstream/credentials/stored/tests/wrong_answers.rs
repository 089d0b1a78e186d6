//! Answers that are none, questions that nobody can answer, and files that would be waited for without an end.

use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::issuers::{Issuer, context, given, in_an_hour, is_in_an_hour, sts, write};

#[tokio::test]
async fn a_role_of_a_profile_lives_as_long_as_that_says_and_is_named_when_it_is_refused() {
    let home = tempfile::tempdir().expect("a folder");
    let context = context(home.path(), &[]);
    let token = home.path().join("token");
    write(&token, "eyJ0.t0ken");
    let config = format!(
        "[profile build]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = base\nduration_seconds = 900\n\
         [profile pod]\nrole_arn = arn:aws:iam::1:role/x\nweb_identity_token_file = {}\nduration_seconds = 1800\n\
         [profile code]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = base\nmfa_serial = arn:aws:iam::1:mfa/me\n",
        token.display()
    );
    write(&home.path().join(".aws/config"), &config);
    write(
        &home.path().join(".aws/credentials"),
        "[base]\naws_access_key_id = AK\naws_secret_access_key = s3cret\n",
    );
    let refusal =
        "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not you</Message></Error></ErrorResponse>";
    let issuer = Issuer::new(vec![
        (200, sts(&in_an_hour())),
        (200, sts(&in_an_hour())),
        (403, refusal.into()),
        (200, sts("in a while")),
    ])
    .await;
    let profile = |name: &str| json!({"kind":"aws-profile","profile":name,"sts_endpoint":issuer.url()});
    for name in ["build", "pod"] {
        assert!(is_in_an_hour(&given(profile(name), &context).await.expect("keys")), "{name}");
    }
    let words = given(profile("build"), &context).await.expect_err("refused");
    assert!(
        words.starts_with(
            "profile build: STS doesn't give the role arn:aws:iam::1:role/x: HTTP 403 AccessDenied"
        ),
        "{words}"
    );
    let words = given(profile("pod"), &context).await.expect_err("no time");
    assert!(
        words.starts_with("profile pod: ") && words.ends_with("an Expiration that is no time"),
        "{words}"
    );
    let words = given(profile("code"), &context).await.expect_err("nobody enters it");
    assert!(
        words.contains("profile code asks for a code of mfa_serial") && words.contains("aws-process"),
        "{words}"
    );
    let asked = issuer.asked().await;
    for (asked, seconds) in asked.iter().zip(["900", "1800"]) {
        assert!(asked.contains(&format!("DurationSeconds={seconds}")), "{asked}");
    }
}

#[tokio::test]
async fn what_is_no_file_is_not_waited_for() {
    let home = tempfile::tempdir().expect("a folder");
    let context = context(home.path(), &[]);
    let pipe = home.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success()));
    let google = json!({"type":"external_account","audience":"a","subject_token_type":"t",
                        "token_url":"http://127.0.0.1:1/","credential_source":{"file":pipe,"format":{"type":"json"}}});
    for document in [
        json!({"kind":"aws-web-identity","role_arn":"arn:x","token_file":pipe,"sts_endpoint":"http://127.0.0.1:1"}),
        json!({"kind":"google","json":google.to_string()}),
    ] {
        let asked = tokio::time::timeout(Duration::from_secs(30), given(document, &context)).await;
        let words = asked.expect("it is not waited for").expect_err("no file");
        assert!(words.contains("is no file of a few lines"), "{words}");
    }
}

#[tokio::test]
async fn a_helper_whose_answer_is_not_in_the_protocol_is_told_so() {
    let home = tempfile::tempdir().expect("a folder");
    let context = context(home.path(), &[]);
    for (answer, word) in [
        (r#"{"headers":{"authorization":"Bearer s3cret"}}"#, "values are no list"),
        (
            r#"{"headers":{"authorization":["Bearer s3cret"]},"expires":1767225600}"#,
            "`expires` that is no time",
        ),
        (r#"{"headers":{"authorization":[7]}}"#, "no line of text"),
        (r#"{"headers":{}}"#, "has no header"),
        (r#"["s3cret"]"#, "no `headers`"),
        ("s3cret", "not JSON"),
    ] {
        let file = home.path().join("answer");
        write(&file, answer);
        let helper =
            json!({"kind":"helper","command":format!("sh -c 'cat {}'", file.display()),"uri":"https://x"});
        let words = given(helper, &context).await.expect_err(answer);
        assert!(words.contains(word) && !words.contains("s3cret"), "{words}");
    }
}
