//! Larder: the local larder of build artifacts.
//!
//! A per-machine daemon that speaks the cache protocols build tools already speak, answers from memory and disk, and
//! pulls from and pushes to an upstream object store with credentials that it alone holds. Tools see a fast local
//! cache that never fails; the network is Larder's problem.
//!
//! # Layers
//! Imports go strictly down; siblings in L1 and L3 never see each other (`tests/tidy.rs` enforces it).
//!
//! ```text
//! L5  main · cli · config · daemon · logging process: flags, files, signals, wiring
//! L4  server                                 sockets, who is calling, dispatch, access log, admin pages
//! L3  protocol                               one wire protocol each
//! L2  cache                                  the policy: tiers, coalescing, put, outbox, offline
//! L1  memory · store · upstream · keyring    ignorant of each other
//! L0  error key digest entry body links regular stats swap
//! ```
//!
//! # Lexicon
//! An *entry* is stored; a *draft* is not yet. A *fill* brings an entry from upstream. The *outbox* holds what was
//! put here and is not upstream yet; its rows are the *queue*. A PUT that is accepted but not queued is *shed*. A
//! *fact* is something an upstream told us lately. A *link* is one entry naming another. A *partial upload* comes in
//! pieces, over several requests; it is a put once it is whole.

pub mod body;
pub mod cache;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod digest;
pub mod entry;
pub mod error;
pub mod key;
pub mod keyring;
pub mod links;
pub mod logging;
pub mod memory;
pub mod protocol;
pub mod regular;
pub mod server;
pub mod stats;
pub mod store;
pub mod swap;
pub mod upstream;
