//! Every operation of both doors, played with Amazon's and Azure's own clients against Larder and against SeaweedFS or
//! azurite: both answer what `tests/golden/{azure,s3}/operations.toml` says, where they differ with a reason.

use std::path::Path;

use crate::support::azurite::{self, Azurite};
use crate::support::setup::Setup;
use crate::support::tools::doors::python;
use crate::support::weed::{Keys, Weed};

fn table(door: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(door).join("operations.toml");
    path.display().to_string()
}

#[test]
fn operations_of_azure_at_larder() {
    let daemon = Setup::new().start();
    let string = daemon.token(&["--azure", "cache", "--read-write"]);
    python(&["golden", "azure", &table("azure"), "larder", &string]);
}

#[test]
fn operations_of_azure_at_azurite() {
    let azurite = Azurite::start(&["one"]);
    let string = azurite::connection_string(azurite.addr(), "one");
    python(&["golden", "azure", &table("azure"), "azurite", &string]);
}

/// What `larder token new --s3` prints, as ID:SECRET.
pub(crate) fn pair(issued: &str) -> String {
    let values: Vec<&str> = issued.lines().map(|line| line.split_once('=').expect("a variable").1).collect();
    values.join(":")
}

#[test]
fn operations_of_s3_at_larder() {
    let daemon = Setup::new().start();
    let keys = |bucket: &str, access: &str| pair(&daemon.token(&["--s3", bucket, access]));
    let (all, reader) = (keys("bkt", "--read-write"), keys("bkt", "--read-only"));
    let stranger = keys("other", "--read-write");
    let endpoint = format!("{}/s3", daemon.url());
    python(&["golden", "s3", &table("s3"), "larder", &endpoint, &all, &reader, &stranger]);
}

#[test]
fn operations_of_s3_at_seaweedfs() {
    let keys = |name, rights| Keys { rights, ..Keys::new(name) };
    let all = keys("all", &["Read:bkt", "Write:bkt", "List:bkt", "Tagging:bkt"]);
    let (reader, stranger) = (keys("reader", &["Read:bkt", "List:bkt"]), keys("stranger", &["Write:bkt"]));
    let weed = Weed::start(&[&all, &reader, &stranger]);
    let pair = |keys: &Keys| format!("{}:{}", keys.id, keys.secret);
    let endpoint = format!("http://{}", weed.addr());
    python(&[
        "golden",
        "s3",
        &table("s3"),
        "seaweedfs",
        &endpoint,
        &pair(&all),
        &pair(&reader),
        &pair(&stranger),
    ]);
}
