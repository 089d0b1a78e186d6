//! The table of upstream faults (see `faults`) over gRPC: what a client of the Remote Execution API must see, call by
//! call. Never UNAVAILABLE, never later than the first-byte deadline, never wrong bytes; writes are always taken.

use crate::faults::{CONFIG, FIRST_BYTE, LARGE, Must, NOISE, Row, SMALL, table};
use crate::support::bucket::{Bucket, Keys, Kind};
use crate::support::fault::Fault;
use crate::support::grpc::{Called, Code, Grpc, bytestream, reapi};
use crate::support::proxy::FaultProxy;
use crate::support::setup::Setup;
use crate::support::{PATIENCE, Rng, until};

/// What is upstream before the fault.
struct Known {
    small: Vec<u8>,
    large: Vec<u8>,
    action: Vec<u8>,
    output: Vec<u8>,
}

impl Known {
    fn new(rng: &mut Rng) -> Self {
        Self {
            small: rng.bytes(SMALL),
            large: rng.bytes(LARGE),
            action: rng.bytes(32),
            output: rng.bytes(SMALL),
        }
    }

    /// Stores all of it.
    fn store(&self, at: &Grpc) -> Result<(), String> {
        let small = at.update(&[&self.small, &self.output]).one();
        let refused =
            small.responses.iter().find(|one| one.status.as_ref().is_none_or(|status| status.code != 0));
        if let Some(refused) = refused {
            return Err(format!("BatchUpdateBlobs: {refused:?}"));
        }
        let large = at.write(&self.large);
        if large.code != Code::Ok || large.messages[0].committed_size != LARGE as i64 {
            return Err(format!("Write: {:?} {}", large.code, large.words));
        }
        let stored = at.store_result(&self.action, &self.output);
        if stored.code != Code::Ok {
            Err(format!("UpdateActionResult: {:?} {}", stored.code, stored.words))
        } else {
            Ok(())
        }
    }

    /// Whether all of it comes back right.
    fn is_right(&self, at: &Grpc) -> Result<(), String> {
        batch(&at.batch(&[&self.small]), &self.small, Must::Right)?;
        read(&at.read(&self.large, 0), &self.large, Must::Right)?;
        result(&at.result(&self.action), Must::Right)
    }
}

fn batch(called: &Called<reapi::BatchReadBlobsResponse>, body: &[u8], must: Must) -> Result<(), String> {
    let one = called.messages.first().and_then(|message| message.responses.first());
    let status = one.and_then(|one| one.status.as_ref());
    let right = status.is_some_and(|status| status.code == 0) && one.is_some_and(|one| one.data == body);
    let miss = status.is_some_and(|status| status.code == 5);
    held(called.code == Code::Ok, right, miss, false, must).map_err(|()| {
        format!("BatchReadBlobs must be {must:?}: {:?} {} {status:?}", called.code, called.words)
    })
}

fn read(called: &Called<bytestream::ReadResponse>, body: &[u8], must: Must) -> Result<(), String> {
    let data = called.data();
    let right = called.code == Code::Ok && data == body;
    // As over HTTP: what came of a body that breaks says nothing.
    let broken = called.code == Code::Aborted;
    held(true, right, called.code == Code::NotFound && data.is_empty(), broken, must).map_err(|()| {
        format!("Read must be {must:?}: {:?} {}, {} bytes", called.code, called.words, data.len())
    })
}

fn result(called: &Called<reapi::ActionResult>, must: Must) -> Result<(), String> {
    held(true, called.code == Code::Ok, called.code == Code::NotFound, false, must)
        .map_err(|()| format!("GetActionResult must be {must:?}: {:?} {}", called.code, called.words))
}

fn held(well: bool, right: bool, miss: bool, broken: bool, must: Must) -> Result<(), ()> {
    let held = match must {
        Must::Miss => miss,
        Must::Right => right,
        Must::NotWrong => right || miss || broken,
    };
    if well && held { Ok(()) } else { Err(()) }
}

/// One row of the table; what was wrong.
fn cell(row: Row, known: &Known, bucket: &Bucket, keys: &Keys, seed: u64) -> Vec<String> {
    let way = FaultProxy::to(bucket.addr());
    let daemon = Setup::new().config(CONFIG).upstream(bucket.url(way.addr(), "")).keys(keys).start();
    let at = Grpc::to(&daemon.addr());
    let new = Known::new(&mut Rng::new(seed));
    let mut wrong = Vec::new();
    let mut note = |what: &str, found: Result<(), String>| {
        if let Err(words) = found {
            wrong.push(format!("{:?} × {what}: {words}", row.fault));
        }
    };
    way.set(row.fault);
    // Its bytes are too few for the faults of a body, and what it names is asked for by name only.
    let named = if row.head == Must::Miss { Must::Miss } else { Must::NotWrong };
    note("result", result(&at.result(&known.action), named));
    note("small", batch(&at.batch(&[&known.small]), &known.small, row.small));
    note("large", read(&at.read(&known.large, 0), &known.large, row.large));
    let capabilities: Called<reapi::ServerCapabilities> =
        at.call("GetCapabilities", &reapi::GetCapabilitiesRequest::default());
    note("capabilities", if capabilities.code == Code::Ok { Ok(()) } else { Err(capabilities.words) });
    note("what is stored now", new.store(&at));
    note("what was stored", new.is_right(&at));
    let missing = at.missing(&[&new.small, &new.large, &new.output]);
    note("FindMissingBlobs", if missing == 0 { Ok(()) } else { Err(format!("{missing} are missing")) });

    way.set(Fault::None);
    until("all is well again", PATIENCE, || known.is_right(&at).is_ok());
    until("what was stored during the fault goes upstream", PATIENCE, || daemon.queued() == 0);
    for line in daemon.access() {
        if line.status != 200 || line.first_byte.is_none_or(|time| time > FIRST_BYTE + NOISE) {
            note("log", Err(format!("{line:?}")));
        }
    }
    wrong
}

fn faults_are_misses_in_time(kind: Kind) {
    let keys = kind.keys("one");
    let bucket = Bucket::start(kind, &[&keys]);
    let known = Known::new(&mut Rng::new(17));
    let desk = Setup::new().upstream(bucket.url(bucket.addr(), "")).keys(&keys).start();
    known.store(&Grpc::to(&desk.addr())).expect("it is stored");
    desk.flush();
    let mut wrong = Vec::new();
    for rows in table(kind).chunks(4) {
        let cells: Vec<Vec<String>> = std::thread::scope(|scope| {
            let begin = |(place, row): (usize, &Row)| {
                let (row, known, bucket, keys, seed) = (*row, &known, &bucket, &keys, 300 + 2 * place as u64);
                scope.spawn(move || cell(row, known, bucket, keys, seed))
            };
            let cells: Vec<_> = rows.iter().enumerate().map(begin).collect();
            let failed = |_| vec!["a cell panicked, see above".to_owned()];
            cells.into_iter().map(|cell| cell.join().unwrap_or_else(failed)).collect()
        });
        wrong.extend(cells.into_iter().flatten());
    }
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn faults_of_s3_are_misses_in_time_over_grpc() {
    faults_are_misses_in_time(Kind::S3);
}

#[test]
fn faults_of_azure_are_misses_in_time_over_grpc() {
    faults_are_misses_in_time(Kind::Azure);
}
