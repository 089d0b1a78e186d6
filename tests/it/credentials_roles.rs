//! Roles of Amazon, assumed at moto: by a token in a file and by another key, renewed in the background, and not given.
//!
//! STS itself gives no keys for less than 15 minutes; moto does, which is why a life is four seconds here.

use std::fs;

use crate::credentials::{all_of, laptop_at, login};
use crate::support::fault::{Fault, Plan};
use crate::support::moto::{self, Moto};
use crate::support::proxy::FaultProxy;
use crate::support::weed::{Keys, Weed};
use crate::support::{PATIENCE, until, write_secret};

#[test]
fn roles_are_assumed_and_renewed_and_one_that_is_not_given_is_said() {
    let moto = Moto::start();
    let (cache, other) = (moto.role("cache"), moto.role("other"));
    let (id, secret) = moto.user("ci", &cache);
    let weed = Weed::start(&[&Keys::anybody()]);
    let way = FaultProxy::to(weed.addr()).unsigned();
    way.plan(Plan {
        fault: Fault::Status { code: 403, word: "InvalidAccessKeyId" },
        strikes: moto::is_stranger,
    });
    let setup = laptop_at(way.addr());
    let (config, keys, token) = (setup.path("config"), setup.path("credentials"), setup.path("token"));
    fs::write(&token, "eyJ0.of-a-pod").expect("a temporary file");
    let life = "duration_seconds = 4";
    let profiles = format!(
        "[profile pod]\nrole_arn = {cache}\nweb_identity_token_file = {}\n{life}\n\
         [profile build]\nrole_arn = {cache}\nsource_profile = base\n{life}\n\
         [profile other]\nrole_arn = {other}\nsource_profile = base\n{life}\n",
        token.display()
    );
    fs::write(&config, profiles).expect("a temporary file");
    write_secret(&keys, &format!("[base]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n"));
    let document = |profile: &str| {
        format!(
            r#"{{"kind":"aws-profile","profile":"{profile}","config_file":"{}","credentials_file":"{}","sts_endpoint":"{}"}}"#,
            config.display(),
            keys.display(),
            moto.url()
        )
    };
    login(&setup, &document("pod"));
    let laptop = setup.start();
    // Nobody has to ask for them; a request would wait for a second only, and moto is slower than that when it is busy.
    until("the first keys are given", PATIENCE, || moto.given() >= 1);
    let mut count = 0;
    let mut put_until_given = |wanted: usize| {
        until("roles are assumed under load", PATIENCE, || {
            count += 1;
            assert_eq!(laptop.put(format!("/blob/ns/entry-{count}"), "kept").status(), 200);
            moto.given() >= wanted
        });
        laptop.flush();
    };
    put_until_given(3);
    login(&setup, &document("build"));
    let before = moto.given();
    put_until_given(before + 1);
    // From now on signatures and policies count, which moto doesn't do for questions that nobody signs.
    moto.enforce();
    put_until_given(before + 3);
    assert!(!laptop.log().contains("denied since"), "{}", laptop.log());

    login(&setup, &document("other"));
    let mut queued = 0;
    until("the other role is denied", PATIENCE, || {
        queued += 1;
        assert_eq!(laptop.put(format!("/blob/ns/queued-{queued}"), "kept").status(), 200);
        laptop.upstream("write").0 == "denied"
    });
    let words = laptop.upstream("write").1;
    let expected = format!(
        "the credential `work`: profile other: STS doesn't give the role {other}: HTTP 403 AccessDenied"
    );
    assert!(words.contains(&expected), "{words}");
    assert!(laptop.queued() > 0);
    let status = laptop.cli(&["status"]);
    assert!(all_of(&status).contains("profile other"), "{status:?}");
    login(&setup, &document("build"));
    until("all of it goes upstream", PATIENCE, || laptop.queued() == 0);
    assert!(!laptop.log().contains(&secret), "no secret is said");
}
