//! A keeper, what it asks, and both clocks, as a test has them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::super::super::Secret;
use super::super::document::Document;
use super::super::keeper::{Keeper, Source};
use super::super::place::{Missing, Stamp};
use super::super::provide::{Issued, Material};
use crate::error::Kind;

pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

/// What is stored, who gives keys, and both clocks, as a test has them.
pub(super) struct Script {
    pub(super) begun: Instant,
    pub(super) told: Mutex<Told>,
    /// One for each question that may be answered.
    pub(super) answers: Semaphore,
}

pub(super) struct Told {
    pub(super) version: u64,
    pub(super) stored: Result<Document, Missing>,
    /// The life of what is given; or why nothing is.
    pub(super) gives: Result<Option<Duration>, String>,
    pub(super) given: u32,
    /// How often somebody was asked.
    pub(super) asked: u32,
    /// How far the wall clock was set.
    pub(super) set: Duration,
    pub(super) slept: Duration,
}

/// A keeper and what it asks.
pub(super) struct Kept {
    pub(super) keeper: Arc<Keeper>,
    pub(super) script: Arc<Script>,
    pub(super) surroundings: watch::Sender<u64>,
}

pub(super) fn document(token: &str) -> Document {
    Document::parse(&format!(r#"{{"kind":"token","token":"{token}"}}"#)).expect("a document")
}

impl Source for Script {
    fn stamp(&self) -> BoxFuture<'_, Stamp> {
        let version = self.told.lock().version;
        async move { [Some((version, 0, 0, 0, 0)), None, None] }.boxed()
    }

    fn read(&self) -> BoxFuture<'_, Result<Document, Missing>> {
        let stored = self.told.lock().stored.clone();
        async move { stored }.boxed()
    }

    fn provide<'a>(&'a self, document: &'a Document) -> BoxFuture<'a, Result<Issued, String>> {
        async move {
            self.answers.acquire().await.expect("never closed").forget();
            let (wall, _) = self.clocks();
            let mut told = self.told.lock();
            told.asked += 1;
            let life = told.gives.clone()?;
            told.given += 1;
            let token = Secret::new(format!("{}-{}", document.needed("token"), told.given));
            Ok(Issued {
                material: Material::Bearer(token),
                until: life.map(|life| wall + life),
                renews: true,
            })
        }
        .boxed()
    }

    fn clocks(&self) -> (SystemTime, Duration) {
        let told = self.told.lock();
        let since = self.begun.elapsed() + told.slept;
        (SystemTime::UNIX_EPOCH + 10 * DAY + since + told.set, DAY + since)
    }
}

impl Kept {
    pub(super) fn new(stored: Result<Document, Missing>, life: Option<Duration>) -> Self {
        let told = Told {
            version: 1,
            stored,
            gives: Ok(life),
            given: 0,
            asked: 0,
            set: Duration::ZERO,
            slept: Duration::ZERO,
        };
        let script = Script { begun: Instant::now(), told: Mutex::new(told), answers: Semaphore::new(1000) };
        let script = Arc::new(script);
        let (surroundings, watched) = watch::channel(0);
        let spawn = |task: BoxFuture<'static, ()>| AbortOnDropHandle::new(tokio::spawn(task.map(Some)));
        let source: Arc<dyn Source> = script.clone();
        let keeper = Keeper::new("work", source, watched, spawn);
        Self { keeper, script, surroundings }
    }

    /// What is stored from now on.
    pub(super) fn store(&self, stored: Result<Document, Missing>) {
        let mut told = self.script.told.lock();
        (told.stored, told.version) = (stored, told.version + 1);
    }

    pub(super) fn gives(&self, gives: Result<Option<Duration>, &str>) {
        self.script.told.lock().gives = gives.map_err(str::to_owned);
    }

    /// Sets the wall clock, and has it noticed.
    pub(super) fn set(&self, ahead: Duration) {
        self.script.told.lock().set = ahead;
        self.surroundings.send_modify(|count| *count += 1);
    }

    pub(super) async fn token(&self) -> Result<String, String> {
        match self.keeper.now().await {
            Ok((material, _)) => match &*material {
                Material::Bearer(token) => Ok(token.expose().to_owned()),
                other => panic!("{other:?}"),
            },
            Err(error) => {
                assert_eq!(error.kind(), Kind::Denied);
                Err(error.message().to_owned())
            }
        }
    }

    /// Lets this much time pass, and all that is due in it happen.
    pub(super) async fn pass(&self, time: Duration) {
        tokio::time::sleep_until(Instant::now() + time).await;
    }

    /// What a request meets after another was stored.
    pub(super) async fn settled(&self) -> Result<String, String> {
        // The first has it looked at, behind itself.
        self.pass(Duration::from_secs(2)).await;
        let _ = self.token().await;
        self.pass(Duration::from_millis(10)).await;
        self.token().await
    }
}

pub(super) fn denied(words: &str) -> Result<String, String> {
    Err(format!("the credential `work`: {words}"))
}

pub(super) fn good(token: &str) -> Result<String, String> {
    Ok(token.to_owned())
}
