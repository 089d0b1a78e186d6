//! The tests' own instrument: each fault looks to a client as its name says, and the real bucket answers through it.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use crate::support::fault::Fault;
use crate::support::http::{Answer, Request};
use crate::support::proxy::FaultProxy;
use crate::support::weed::{BUCKET, Keys, Weed};
use crate::support::wire::Addr;
use crate::support::{PATIENCE, until};

fn ask(proxy: &FaultProxy) -> std::io::Result<Answer> {
    Request::get(format!("/{BUCKET}/x")).send(&Addr::Tcp(proxy.addr()))
}

#[test]
fn each_fault_is_what_its_name_says() {
    let mut weed = Weed::start(&[&Keys::new("one")]);
    let proxy = FaultProxy::to(weed.addr());
    let plain = ask(&proxy).expect("an answer");
    assert_eq!(plain.status(), 403, "weed refuses strangers");
    let whole = plain.whole().expect("whole").len() as u64;
    assert!(whole > 20, "with words: {}", plain.text());

    proxy.set(Fault::Refuse);
    assert_eq!(ask(&proxy).map_err(|error| error.kind()).err(), Some(ErrorKind::ConnectionRefused));

    proxy.set(Fault::BlackHole);
    let limit = Duration::from_millis(300);
    let began = Instant::now();
    let tried = std::net::TcpStream::connect_timeout(&proxy.addr(), limit);
    assert_eq!(tried.map(|_| ()).map_err(|error| error.kind()), Err(ErrorKind::TimedOut));
    assert!(began.elapsed() >= limit);

    proxy.set(Fault::EXPIRED_TOKEN);
    let answer = ask(&proxy).expect("an answer");
    assert_eq!(answer.status(), 403);
    assert!(answer.text().contains("<Code>ExpiredToken</Code>"), "{}", answer.text());

    proxy.set(Fault::Portal);
    assert_eq!(ask(&proxy).map(|answer| answer.status()).ok(), Some(200));

    proxy.set(Fault::Delay(Duration::from_millis(200)));
    assert!(ask(&proxy).expect("an answer").first_byte >= Duration::from_millis(200));

    proxy.set(Fault::Flip { at: 5 });
    let flipped = ask(&proxy).expect("an answer");
    assert_eq!(flipped.body[5], plain.body[5] ^ 1);
    proxy.set(Fault::Shorten { by: 7 });
    let shorter = ask(&proxy).expect("an answer");
    assert!(shorter.broken.is_none());
    assert_eq!(shorter.header("content-length"), Some((shorter.body.len()).to_string().as_str()));
    proxy.set(Fault::Cut { after: 9 });
    let cut = ask(&proxy).expect("an answer");
    assert_eq!((cut.body.len(), cut.broken), (9, Some(ErrorKind::UnexpectedEof)));
    proxy.set(Fault::Reset { after: 9 });
    let cut = ask(&proxy).expect("an answer");
    assert_eq!(cut.broken, Some(ErrorKind::ConnectionReset));

    proxy.set(Fault::Silent);
    let before = proxy.seen().len();
    let waiting = std::thread::spawn({
        let addr = Addr::Tcp(proxy.addr());
        move || Request::get("/").send(&addr).map(|_| ())
    });
    until("the request is read", PATIENCE, || proxy.seen().len() > before);
    proxy.set(Fault::None);
    assert!(waiting.join().expect("no panic").is_err(), "what waited is ended");

    weed.restart(&[&Keys::new("two")]);
    assert_eq!(ask(&proxy).map(|answer| answer.status()).ok(), Some(403), "back on the same port");
    assert!(proxy.count("GET", BUCKET) >= 9);
}
