//! A small Google Cloud Storage: its XML API as far as an upstream speaks it, in this process, in memory.
//!
//! Emulators that can be had don't answer as Google does (no ETag on PUT, no multipart). What matters here is what an
//! upstream relies on: generations as conditions, `x-goog-hash`, tokens, and errors in Google's words. It believes a
//! token's issuer and leaves out the signature: whose it is decides what it may do.

mod answers;
mod objects;

use std::collections::HashMap;
use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;

use self::answers::Answer;
use self::objects::Objects;
use super::free_addr;
use super::wire::{Head, read_body};

/// The store. It ends with this value.
pub(crate) struct Gcs {
    shared: Arc<Shared>,
    addr: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What a service account may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// `storage.objectViewer`.
    Reader,
    /// That and `storage.objectCreator`: what is there it may not replace.
    Creator,
    /// `storage.objectUser`.
    Writer,
}

struct Shared {
    objects: Mutex<Objects>,
    /// By e-mail address.
    accounts: Mutex<HashMap<String, Role>>,
}

/// The bucket that every store here has.
pub(crate) const BUCKET: &str = "team-cache";

// === impl Gcs ===

impl Gcs {
    /// An empty bucket.
    pub(crate) fn start(accounts: &[(&str, Role)]) -> Self {
        let addr = free_addr();
        let listener = TcpListener::bind(addr).expect("a port that was free just now");
        let shared = Arc::new(Shared { objects: Mutex::default(), accounts: Mutex::default() });
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (stop, shared) = (Arc::clone(&stop), Arc::clone(&shared));
            move || {
                for client in listener.incoming().flatten() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let shared = Arc::clone(&shared);
                    std::thread::spawn(move || {
                        // Who hangs up is a client's affair.
                        let _ = shared.serve(client);
                    });
                }
            }
        });
        let gcs = Self { shared, addr, stop, thread: Some(thread) };
        gcs.allow(accounts);
        gcs
    }

    /// From now on, these service accounts and no others.
    pub(crate) fn allow(&self, accounts: &[(&str, Role)]) {
        *self.shared.accounts.lock() =
            accounts.iter().map(|(who, role)| ((*who).to_owned(), *role)).collect();
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The names of all objects, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        self.shared.objects.lock().names()
    }

    /// Multipart uploads that have begun and not ended.
    pub(crate) fn uploads(&self) -> usize {
        self.shared.objects.lock().uploads()
    }
}

impl Drop for Gcs {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the thread from its accept; where that fails it has ended already.
        let _ = TcpStream::connect(self.addr);
        if let Some(thread) = self.thread.take() {
            // A panic of its own would have failed the test that it served.
            let _ = thread.join();
        }
    }
}

/// The upstream URL of the bucket, or of a part of it, behind `addr`.
pub(crate) fn url(addr: SocketAddr, prefix: &str) -> String {
    let slash = if prefix.is_empty() { "" } else { "/" };
    format!("gs://{BUCKET}{slash}{prefix}?endpoint=http://{addr}")
}

/// A service account's key file, with a key that is made now.
pub(crate) fn key_file(email: &str) -> String {
    let made = Command::new("openssl")
        .args(["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"])
        .output()
        .expect("openssl is installed");
    let pem = String::from_utf8(made.stdout).expect("PEM is text");
    assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----"), "{}", String::from_utf8_lossy(&made.stderr));
    serde_json::json!({
        "type": "service_account",
        "client_email": email,
        "private_key_id": "1",
        "private_key": pem,
    })
    .to_string()
}

// === impl Shared ===

impl Shared {
    fn serve(&self, client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let mut reader = BufReader::new(client.try_clone()?);
        while let Some(request) = Head::read(&mut reader)? {
            let mut body = Vec::new();
            read_body(&mut reader, request.request_framing(), |piece| {
                body.extend_from_slice(piece);
                Ok(())
            })?;
            let (method, _) = request.words();
            let answer = self.answer(&request, body);
            (&client).write_all(&answer.bytes(method == "HEAD"))?;
        }
        Ok(())
    }

    fn answer(&self, request: &Head, body: Vec<u8>) -> Answer {
        let role = match issuer(request).and_then(|who| self.accounts.lock().get(&who).copied()) {
            Some(role) => role,
            None => return Answer::error(401, "AuthenticationRequired", "Authentication required."),
        };
        let (method, target) = request.words();
        let mut objects = self.objects.lock();
        let may = match (role, method) {
            (Role::Writer, _) | (Role::Reader | Role::Creator, "GET" | "HEAD") => true,
            (Role::Reader, _) | (Role::Creator, "DELETE") => false,
            (Role::Creator, _) => !objects.has(BUCKET, target),
        };
        if !may {
            return Answer::error(403, "AccessDenied", "Access denied.");
        }
        objects.answer(BUCKET, request, body)
    }
}

/// Whose token a request carries: the claims are the middle part of it.
fn issuer(request: &Head) -> Option<String> {
    let token = request.header("authorization")?.strip_prefix("Bearer ")?;
    let claims = base64url(token.split('.').nth(1)?)?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    claims["iss"].as_str().map(str::to_owned)
}

fn base64url(text: &str) -> Option<Vec<u8>> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (mut bytes, mut held, mut bits) = (Vec::new(), 0_u32, 0);
    for digit in text.bytes() {
        held = held << 6 | u32::try_from(DIGITS.iter().position(|known| *known == digit)?).ok()?;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits & 0xff).ok()?);
        }
    }
    Some(bytes)
}
