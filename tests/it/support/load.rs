//! A closed loop of requests over connections that are kept open, and every way in which one can fail.

use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::http::read_answer;
use super::{PATIENCE, random};

/// What became of the requests.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) answered: u64,
    /// Refused connects, new connections that ended without an answer, answers that broke off or were wrong.
    pub(crate) failures: Vec<String>,
    /// Connections kept open that ended before a byte of the next answer: the daemon may not have read a byte of the
    /// request, and then it is no failure.
    pub(crate) closed_while_idle: u64,
    /// From the connect, or the request on an open connection, to the answer's end.
    pub(crate) longest: Duration,
}

/// A load that runs until it is ended.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
    threads: Vec<JoinHandle<()>>,
}

struct Client {
    addr: SocketAddr,
    body: Arc<Vec<u8>>,
    open: Option<BufReader<TcpStream>>,
}

/// Between two requests of one connection, so that builds have the machine, too.
const PAUSE: Duration = Duration::from_millis(20);

/// What is asked for.
pub(crate) const TARGET: &str = "/blob/load/x";

// === impl Load ===

impl Load {
    /// `connections` clients that ask for [`TARGET`], which has to be `body`.
    pub(crate) fn begin(addr: SocketAddr, connections: usize, body: &[u8]) -> Self {
        let (stop, tally) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Tally::default())));
        let body = Arc::new(body.to_vec());
        let run = |_| {
            let (stop, tally) = (Arc::clone(&stop), Arc::clone(&tally));
            let mut client = Client { addr, body: Arc::clone(&body), open: None };
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    client.ask(&tally);
                    std::thread::park_timeout(PAUSE + PAUSE.mul_f64((random() % 100) as f64 / 100.0));
                }
            })
        };
        let threads = (0..connections).map(run).collect();
        Self { stop, tally, threads }
    }

    pub(crate) fn tally(&self) -> Tally {
        self.tally.lock().clone()
    }

    /// Forgets what has happened so far; returns it.
    pub(crate) fn take(&self) -> Tally {
        std::mem::take(&mut self.tally.lock())
    }

    pub(crate) fn end(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.thread().unpark();
            thread.join().expect("no client panics");
        }
        self.tally.lock().clone()
    }
}

// === impl Client ===

impl Client {
    fn ask(&mut self, tally: &Mutex<Tally>) {
        let began = Instant::now();
        let kept = self.open.take();
        let is_kept = kept.is_some();
        let asked = kept.map_or_else(|| self.connect(), Ok).and_then(|stream| self.exchange(stream));
        let mut tally = tally.lock();
        match asked {
            Ok(None) => {
                tally.answered += 1;
                tally.longest = tally.longest.max(began.elapsed());
            }
            Ok(Some(words)) => tally.failures.push(words),
            Err(error) if is_kept && is_end(&error) => tally.closed_while_idle += 1,
            Err(error) => {
                let which = if is_kept { "an open" } else { "a new" };
                tally.failures.push(format!("{which} connection, after {:?}: {error:?}", began.elapsed()));
            }
        }
    }

    fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect(self.addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(BufReader::new(stream))
    }

    /// Asks and reads the answer; in words what is wrong with it. An error is one before its first byte.
    fn exchange(&mut self, mut stream: BufReader<TcpStream>) -> io::Result<Option<String>> {
        let head = format!("GET {TARGET} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
        stream.get_mut().write_all(head.as_bytes())?;
        if std::io::BufRead::fill_buf(&mut stream)?.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let answer = match read_answer(&mut stream, "GET", Instant::now()) {
            Ok(answer) => answer,
            Err(error) => return Ok(Some(format!("an answer broke off: {error:?}"))),
        };
        if answer.status() != 200 || answer.whole() != Some(&self.body[..]) {
            return Ok(Some(format!("a wrong answer: {:?}", answer.head)));
        }
        if answer.header("connection") != Some("close") {
            self.open = Some(stream);
        }
        Ok(None)
    }
}

/// Whether the other side has ended a connection.
fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}
