//! What a server that is asked by plain HTTP makes of single answers: those of others, and those of servers that know
//! little.

use std::io::{BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use larder::upstream::{Credentials, Failure, GetOptions, Got, Remote};

use super::{World, bytes, get, is_absent, name, put, there, words};
use crate::support::nginx;
use crate::support::sha256;
use crate::support::wire::Head;

/// A server that says what a test wants said, piece by piece, and ends the connection.
struct Stand {
    addr: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What it says, each after a pause.
type Pieces = Vec<(Duration, String)>;

impl Stand {
    fn saying(answer: impl Fn(&Head) -> Pieces + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let Ok(Some(head)) = Head::read(&mut reader) else { continue };
                for (pause, piece) in answer(&head) {
                    std::thread::park_timeout(pause);
                    // Who has heard enough goes away.
                    let _ = stream.write_all(piece.as_bytes());
                }
                // Closed with bytes unread, the answer could be lost.
                let _ = stream.shutdown(Shutdown::Write);
                let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
                let _ = std::io::copy(&mut reader, &mut std::io::sink());
            }
        });
        Self { addr, stop, thread: Some(thread) }
    }

    /// An answer of one piece.
    fn always(head: &'static str, body: &'static str) -> Self {
        Self::saying(move |_| {
            vec![(Duration::ZERO, format!("HTTP/1.1 {head}\r\nconnection: close\r\n\r\n{body}"))]
        })
    }

    fn remote(&self, world: &World, dialect: &str) -> Remote {
        let url = format!("http://{}?dialect={dialect}", self.addr);
        world.remote_with(&url, Credentials::Token(nginx::TOKEN.into()), |settings| {
            settings.first_byte = Duration::from_millis(500);
            settings.stall = Duration::from_secs(3);
        })
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.addr));
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

#[test]
fn an_answer_without_a_length_is_given_whole_however_slowly_it_comes() {
    let pieces = |end: &'static str| {
        move |_: &Head| {
            let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\nx-artifact-tag: signed\r\n\r\n";
            let mut pieces = vec![(Duration::ZERO, head.to_owned())];
            pieces.extend(
                ["lar", "der", "123"].map(|text| (Duration::from_millis(400), format!("3\r\n{text}\r\n"))),
            );
            pieces.push((Duration::ZERO, end.into()));
            pieces
        }
    };
    let world = World::new();
    world.run(async {
        let slow = Stand::saying(pieces("0\r\n\r\n"));
        let remote = slow.remote(&world, "turborepo");
        let object = there(get(&remote, "v8/artifacts/web/0f").await);
        assert_eq!((object.meta.len, object.meta.attrs.get("artifacttag")), (9, Some("signed")));
        assert_eq!(&object.body.collect(9).await.unwrap()[..], b"larder123");
        let some = GetOptions { range: Some(3..5), ..GetOptions::default() };
        let object = there(remote.get(&name("v8/artifacts/web/0f"), some).await);
        assert_eq!((object.meta.len, object.range.clone()), (9, 3..5));
        assert_eq!(&object.body.collect(9).await.unwrap()[..], b"de");
        assert!(remote.readable(), "what comes slowly is no deadline: {:?}", remote.states());

        // Nothing of what breaks off is given.
        let broken = Stand::saying(pieces("7"));
        let remote = broken.remote(&world, "turborepo");
        words(get(&remote, "v8/artifacts/web/0f").await);
        let endless = Stand::always("200 OK", "larder");
        let remote = endless.remote(&world, "turborepo");
        assert!(words(get(&remote, "v8/artifacts/web/0f").await).contains("neither its length"));
    });
}

#[test]
fn only_what_the_server_itself_says_counts() {
    let world = World::new();
    world.run(async {
        let ac = format!("ac/{}", sha256(b""));
        let say = async |head, body, dialect| {
            let stand = Stand::always(head, body);
            let remote = stand.remote(&world, dialect);
            (get(&remote, &ac).await, put(&remote, &ac, "x").await)
        };
        let (got, _) = say("200 OK\r\ncontent-length: 3", "abc", "larder").await;
        assert_eq!(&bytes(got).await[..], b"abc");
        let (got, done) =
            say("200 OK\r\ncontent-type: Text/HTML; x\r\netag: \"1\"\r\ncontent-length: 3", "<p>", "plain")
                .await;
        assert!(words(got).contains("a page in HTML") && words(done).contains("captive portal"));
        let moved = "302 Found\r\nlocation: https://login.example.com/?secret=1\r\ncontent-length: 0";
        let (got, done) = say(moved, "", "larder").await;
        for said in [words(got), words(done)] {
            assert!(
                said.contains("leads to https://login.example.com/,") && !said.contains("secret"),
                "{said}"
            );
        }
        let page = "404 Not Found\r\ncontent-type: text/html\r\ncontent-length: 3";
        assert!(is_absent(&say(page, "<p>", "bazel").await.0), "as nginx says it");
        assert!(words(say(page, "<p>", "larder").await.0).contains("not the server's own"));
        let page = "400 Bad Request\r\ncontent-type: text/html\r\ncontent-length: 3";
        words(say(page, "<p>", "bazel").await.1);
        let other = "206 Partial\r\ncontent-range: bytes 5-7/10\r\ncontent-length: 3";
        assert!(words(say(other, "abc", "larder").await.0).contains("other bytes"));
        let quoting = "403 Forbidden\r\ncontent-length: 34";
        let (got, _) = say(quoting, "no a-token-of-the-nginx is of ours", "larder").await;
        let said = words(got);
        assert!(said.contains("HTTP 403") && !said.contains(nginx::TOKEN), "{said}");
        let wait = "503 Busy\r\nretry-after: 7\r\ncontent-length: 0";
        let (got, done) = say(wait, "", "larder").await;
        let seven = Some(Duration::from_secs(7));
        assert!(matches!(got, Err(Failure::Throttled { retry_after }) if retry_after == seven), "{got:?}");
        assert!(matches!(done, Err(Failure::Throttled { retry_after }) if retry_after == seven), "{done:?}");
    });
}

/// Of 200 to a range the rest is passed over.
#[test]
fn a_server_without_ranges_and_conditions_is_cut() {
    let stand = Stand::always("200 OK\r\netag: \"1\"\r\ncontent-length: 10", "0123456789");
    let world = World::new();
    world.run(async {
        let remote = stand.remote(&world, "plain");
        for (asked, given) in [(0..3, 0..3), (3..7, 3..7), (8..100, 8..10), (4..u64::MAX, 4..10)] {
            let options = GetOptions { range: Some(asked), ..GetOptions::default() };
            let object = there(remote.get(&name("x"), options).await);
            assert_eq!((object.range.clone(), object.meta.len), (given.clone(), 10));
            let expected = &b"0123456789"[given.start as usize..given.end as usize];
            assert_eq!(&object.body.collect(10).await.unwrap()[..], expected);
        }
        let read = async |range, if_match: Option<&str>, if_none_match: Option<&str>| {
            let (if_match, if_none_match) = (if_match.map(Into::into), if_none_match.map(Into::into));
            remote.get(&name("x"), GetOptions { range, if_match, if_none_match }).await
        };
        assert!(matches!(read(Some(10..11), None, None).await, Ok(Got::Unsatisfiable(Some(10)))));
        assert!(matches!(read(Some(1..2), Some("2"), None).await, Ok(Got::Changed)));
        assert!(matches!(read(None, None, Some("1")).await, Ok(Got::NotModified)));
    });
}
