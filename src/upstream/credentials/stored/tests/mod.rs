//! Keepers over paused time, and issuers that are fakes on loopback.

mod clocks;
mod issuers;
mod keepers;
mod script;
mod wrong_answers;
