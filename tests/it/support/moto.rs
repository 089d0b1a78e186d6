//! moto, of which only IAM and STS are asked: it knows users, their policies and roles, checks signatures of questions
//! once it is told to, and gives keys with a session token.
//!
//! No bucket knows those keys, so a proxy that has [`is_stranger`] as its plan lets in who shows a key and a token of
//! moto's together, and sends what it lets in on without them: the signature with such a key is not looked at.

use std::net::SocketAddr;

use parking_lot::Mutex;
use serde_json::Value;
use tempfile::TempDir;

use super::http::Request;
use super::process::Process;
use super::wire::{Addr, Head};
use super::{PATIENCE, free_addr, tool, until};

/// One server. A single one runs at a time.
pub(crate) struct Moto {
    addr: SocketAddr,
    _process: Process,
    _folder: TempDir,
}

/// The account of all users and roles.
const ACCOUNT: &str = "123456789012";

/// Keys that are older than as many are over.
const ALIVE: usize = 2;

static RUNS: Mutex<Option<SocketAddr>> = Mutex::new(None);

/// Whether a request shows no key and token that moto has given, one with the other, as one of the last.
pub(crate) fn is_stranger(request: &Head) -> bool {
    let shown = || {
        let (_, rest) = request.header("authorization")?.split_once("Credential=")?;
        let token = request.header("x-amz-security-token")?;
        let given = given((*RUNS.lock())?);
        let is_it = |row: &&Value| row["access_key_id"] == *rest.split('/').next().unwrap_or_default();
        given.iter().rev().take(ALIVE).find(is_it).filter(|row| row["session_token"] == *token).map(drop)
    };
    shown().is_none()
}

/// All keys that it has given, the last one last.
fn given(addr: SocketAddr) -> Vec<Value> {
    let answer = Request::get("/moto-api/data.json").send(&Addr::Tcp(addr)).expect("moto answers");
    let said: Value = serde_json::from_slice(&answer.body).expect("JSON");
    said["sts"]["AssumedRole"].as_array().cloned().unwrap_or_default()
}

// === impl Moto ===

impl Moto {
    /// One that believes everybody.
    pub(crate) fn start() -> Self {
        let (addr, folder) = (free_addr(), TempDir::new().expect("a temporary folder"));
        let mut command = std::process::Command::new(tool("moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &addr.port().to_string()]).env("HOME", folder.path());
        let process = Process::spawn(&mut command, &folder.path().join("moto.log"));
        until("moto answers", PATIENCE, || {
            Request::get("/moto-api/data.json")
                .send(&Addr::Tcp(addr))
                .is_ok_and(|answer| answer.status() == 200)
        });
        *RUNS.lock() = Some(addr);
        Self { addr, _process: process, _folder: folder }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// A role that whoever may ask for it gets.
    pub(crate) fn role(&self, name: &str) -> String {
        let trusted = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"*"},"Action":"sts:AssumeRole"}]}"#;
        self.iam(&format!("Action=CreateRole&RoleName={name}&AssumeRolePolicyDocument={}", escape(trusted)));
        format!("arn:aws:iam::{ACCOUNT}:role/{name}")
    }

    /// A user who may ask for this role; the access key.
    pub(crate) fn user(&self, name: &str, role: &str) -> (String, String) {
        self.iam(&format!("Action=CreateUser&UserName={name}"));
        let policy = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"{role}"}}]}}"#
        );
        self.iam(&format!(
            "Action=PutUserPolicy&UserName={name}&PolicyName=roles&PolicyDocument={}",
            escape(&policy)
        ));
        let said = self.iam(&format!("Action=CreateAccessKey&UserName={name}"));
        let part = |name: &str| {
            let (_, rest) = said.split_once(&format!("<{name}>")).expect("a key");
            rest.split('<').next().unwrap_or_default().to_owned()
        };
        (part("AccessKeyId"), part("SecretAccessKey"))
    }

    fn iam(&self, action: &str) -> String {
        let request = Request::new("POST", "/")
            .payload(super::http::Payload::Sized(format!("{action}&Version=2010-05-08").into_bytes()))
            .header("content-type", "application/x-www-form-urlencoded")
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=AK/20260101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=0",
            );
        let answer = request.send(&Addr::Tcp(self.addr)).expect("moto answers");
        assert_eq!(answer.status(), 200, "{action}: {}", answer.text());
        answer.text()
    }

    /// From now on it checks who signs, and whether they may.
    pub(crate) fn enforce(&self) {
        let request = Request::new("POST", "/moto-api/reset-auth")
            .payload(super::http::Payload::Sized(b"0".to_vec()))
            .header("content-type", "text/plain");
        let answer = request.send(&Addr::Tcp(self.addr)).expect("moto answers");
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }

    /// How many keys it has given.
    pub(crate) fn given(&self) -> usize {
        given(self.addr).len()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        *RUNS.lock() = None;
    }
}

/// A value of a form.
fn escape(text: &str) -> String {
    let escaped = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escaped).collect()
}
