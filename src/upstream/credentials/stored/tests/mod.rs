//! Keepers over paused time, and issuers that are fakes on loopback.

mod issuers;
mod keepers;
mod wrong_answers;
