//! A client of the Remote Execution API over Google's own gRPC: what no build tool at hand does.
//!
//! The scenarios are in `support/tools/reapi`, a module for each of these tests.

use crate::support::setup::Setup;
use crate::support::tools::reapi::play;

#[track_caller]
fn plays(module: &str) {
    let daemon = Setup::new().start();
    play(module, &daemon.addr());
    // Nothing that was refused or broke off is left.
    let left = daemon.drafts();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn batches() {
    plays("batches");
}

#[test]
fn reads() {
    plays("reads");
}

#[test]
fn writes() {
    plays("writes");
}

#[test]
fn names() {
    plays("names");
}

#[test]
fn results_and_trees() {
    plays("results");
}

#[test]
fn habits_of_clients_that_are_not_here() {
    plays("habits");
}

#[test]
fn what_it_says_of_itself() {
    plays("server");
}

/// The unix socket speaks it too, to the library that most clients are built on.
#[test]
fn over_the_unix_socket() {
    let daemon = Setup::new().start();
    play("batches", &daemon.unix());
    play("writes", &daemon.unix());
}
