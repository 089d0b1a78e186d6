//! HTTP/1.1: one request after the other on each connection.

use std::io::{Error, ErrorKind, Result};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use clap::Subcommand;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::tally::Tally;

#[derive(Subcommand)]
pub(crate) enum Work {
    /// PUT `{path}{folder}/{name}` for the names `first` to `first + count - 1`, each with a body of its own; the folder
    /// is the name's low byte in hex, as caches lay out their files.
    Put {
        #[command(flatten)]
        target: Target,
        #[arg(long)]
        size: usize,
        #[arg(long, default_value_t = 0)]
        first: u64,
        /// 2: head and body apart and without TCP_NODELAY, as cpp-httplib in ccache does.
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
        writes: u8,
    },
    /// GET the names 0 to `names - 1` in a scattered order.
    Get {
        #[command(flatten)]
        target: Target,
        #[arg(long)]
        names: u64,
    },
    /// Every connection sends `GET {path}` once, all at one moment.
    Crowd {
        #[command(flatten)]
        target: Target,
    },
}

#[derive(clap::Args, Clone)]
pub(crate) struct Target {
    #[arg(long)]
    port: u16,
    #[arg(long)]
    path: String,
    #[arg(long, default_value_t = 1)]
    count: u64,
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// So many requests a second, begun when they are due, however long the ones before take; else as many as get
    /// through. Of one that no connection was free for, what it waited counts.
    #[arg(long)]
    rate: Option<u32>,
    /// Statuses that are not an error.
    #[arg(long, value_delimiter = ',', default_value = "200,201,204")]
    status: Vec<u16>,
    /// Length that every answer's body must have.
    #[arg(long)]
    expect: Option<u64>,
}

pub(crate) async fn run(work: Work) -> Result<serde_json::Value> {
    let work = Rc::new(work);
    let tally = Rc::new(Tally::default());
    let target = work.target().clone();
    let mut streams = Vec::new();
    for _ in 0..target.connections {
        streams.push(TcpStream::connect(("127.0.0.1", target.port)).await?);
    }
    let begin = Instant::now();
    let tasks: Vec<_> = streams
        .into_iter()
        .map(|stream| tokio::task::spawn_local(drive(stream, work.clone(), tally.clone(), begin)))
        .collect();
    for task in tasks {
        if let Err(error) = task.await.map_err(Error::other).flatten() {
            tally.fail(error.to_string());
        }
    }
    Ok(tally.report(begin))
}

/// Sends one request after the other on one connection until the run's number is used up.
async fn drive(mut stream: TcpStream, work: Rc<Work>, tally: Rc<Tally>, started: Instant) -> Result<()> {
    let apart = work.is_apart();
    stream.set_nodelay(!apart)?;
    let target = work.target();
    let body = Bytes::from(vec![b'x'; work.size()]);
    let mut buffer = vec![0; 256 * 1024];
    while let Some(index) = tally.next(work.count()) {
        let begin = match target.rate {
            Some(rate) => due(started + Duration::from_secs_f64(index as f64 / f64::from(rate))).await,
            None => Instant::now(),
        };
        let (start, body_at, rest) = work.request(index, &body);
        let written = if apart { body_at } else { 0 };
        stream.write_all(&start[..written]).await?;
        stream.write_all_buf(&mut Buf::chain(&start[written..], &rest[..])).await?;
        let answer = read_answer(&mut stream, &mut buffer).await?;
        tally.took(begin);
        if let (Work::Crowd { .. }, Some(first_byte_ns)) = (&*work, answer.first_byte_ns) {
            tally.first_byte(first_byte_ns);
        }
        if !target.status.contains(&answer.status) {
            tally.fail(format!("status {} to {}{index}", answer.status, target.path));
        } else if target.expect.is_some_and(|expect| expect != answer.len) {
            tally.fail(format!("{} bytes in answer to {}{index}", answer.len, target.path));
        }
    }
    Ok(())
}

/// Waits until a request is due. The timer's own lateness is not the server's.
async fn due(at: Instant) -> Instant {
    if Instant::now() >= at {
        return at;
    }
    tokio::time::sleep_until(at.into()).await;
    Instant::now()
}

struct Answer {
    status: u16,
    len: u64,
    first_byte_ns: Option<u64>,
}

/// Reads one answer whole; an answer must state its length (or have no body by its status).
async fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> Result<Answer> {
    let mut filled = 0;
    let head_len = loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        filled += read;
        if let Some(at) = buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let head = std::str::from_utf8(&buffer[..head_len]).map_err(Error::other)?;
    let status = head.get(9..12).and_then(|digits| digits.parse().ok()).ok_or(ErrorKind::InvalidData)?;
    let len = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok());
    let len: u64 = match (status, len) {
        (204 | 304, _) => 0,
        (_, Some(len)) => len,
        (_, None) => return Err(Error::other(format!("status {status} without a length"))),
    };
    let mut seen = (filled - head_len) as u64;
    let mut first_byte_ns = (seen > 0).then(monotonic_ns);
    while seen < len {
        let read = stream.read(buffer).await?;
        if read == 0 {
            return Err(Error::other(format!("body ended at {seen} of {len} bytes")));
        }
        first_byte_ns = first_byte_ns.or_else(|| Some(monotonic_ns()));
        seen += read as u64;
    }
    Ok(Answer { status, len, first_byte_ns })
}

/// The clock that the delaying proxy uses too, so that their notes can be compared.
fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

// === impl Work ===

impl Work {
    fn target(&self) -> &Target {
        match self {
            Work::Put { target, .. } | Work::Get { target, .. } | Work::Crowd { target } => target,
        }
    }

    fn count(&self) -> u64 {
        match self {
            Work::Put { target, .. } | Work::Get { target, .. } => target.count,
            Work::Crowd { target } => target.connections as u64,
        }
    }

    fn size(&self) -> usize {
        match self {
            Work::Put { size, .. } => *size,
            Work::Get { .. } | Work::Crowd { .. } => 0,
        }
    }

    /// Whether head and body are two writes.
    fn is_apart(&self) -> bool {
        matches!(self, Work::Put { writes: 2, .. })
    }

    /// The bytes with which request `index` starts, where in them its body begins, and the rest of the body. No two
    /// bodies are alike: each begins with its index.
    fn request(&self, index: u64, body: &Bytes) -> (Vec<u8>, usize, Bytes) {
        let path = &self.target().path;
        match self {
            Work::Put { size, first, .. } => {
                let name = first + index;
                let folder = name % 256;
                let mut head =
                    format!("PUT {path}{folder:02x}/{name} HTTP/1.1\r\nHost: 127.0.0.1\r\n").into_bytes();
                head.extend_from_slice(format!("Content-Length: {size}\r\n\r\n").as_bytes());
                let (body_at, unique) = (head.len(), 8.min(*size));
                head.extend_from_slice(&name.to_le_bytes()[..unique]);
                (head, body_at, body.slice(unique..))
            }
            Work::Get { names, .. } => {
                // A fixed odd multiplier scatters the names without a random source to pay for.
                let name = index.wrapping_mul(0x9E37_79B9_7F4A_7C15) % names;
                let folder = name % 256;
                let head = format!("GET {path}{folder:02x}/{name} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
                (head.into_bytes(), 0, Bytes::new())
            }
            Work::Crowd { .. } => {
                (format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").into_bytes(), 0, Bytes::new())
            }
        }
    }
}
