//! A CA as `larder tls init` makes it, certificates that are wrong in one way, and clients that speak TLS.

use std::fs;
use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, date_time_ymd};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use super::http::{Answer, read_answer};
use super::{eventually, write_secret};

/// A folder of `larder tls init`.
#[derive(Debug)]
pub(crate) struct Pki {
    folder: TempDir,
    /// What was printed last.
    pub(crate) page: String,
}

/// A client's certificate and its key.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// How a run of curl ended.
#[derive(Debug)]
pub(crate) struct Curled {
    pub(crate) code: i32,
    /// The status and the version of HTTP: `200 2`. `000 0` when there was none.
    pub(crate) status: String,
    pub(crate) body: String,
    /// What curl says of the connection.
    pub(crate) said: String,
}

/// A connection that stays open.
pub(crate) struct KeptAlive {
    stream: BufReader<StreamOwned<ClientConnection, TcpStream>>,
}

/// For whom a certificate is issued that `larder tls init` would not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Odd {
    /// It ended years ago.
    Expired,
    /// It signed itself.
    SelfSigned,
    /// A server's.
    Server,
}

// === impl Pki ===

impl Pki {
    /// One with these clients.
    #[track_caller]
    pub(crate) fn new(clients: &[&str]) -> Self {
        let mut pki = Self { folder: TempDir::new().expect("a temporary folder"), page: String::new() };
        let arguments: Vec<&str> = clients.iter().flat_map(|client| ["--client", client]).collect();
        let output = pki.init(&arguments);
        assert!(output.status.success(), "{output:?}");
        pki.page = String::from_utf8_lossy(&output.stdout).into_owned();
        pki
    }

    /// `larder tls init` there.
    pub(crate) fn init(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_larder"))
            .args(["tls", "init", "--dir"])
            .arg(self.folder.path())
            .args(arguments)
            .env_clear()
            .stdin(Stdio::null())
            .output()
            .expect("the binary starts")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.path("ca.pem")
    }

    pub(crate) fn client(&self, name: &str) -> Identity {
        Identity {
            certificate: self.path(&format!("client-{name}.pem")),
            key: self.path(&format!("client-{name}-key.pem")),
        }
    }

    /// A listener of a configuration at `addr` with these certificates; `more` lines of it.
    pub(crate) fn listener(&self, addr: SocketAddr, more: &str) -> String {
        let (certificate, key) = (self.path("server.pem"), self.path("server-key.pem"));
        format!(
            "[[listeners]]\naddress = \"{addr}\"\ncertificate = \"{}\"\nkey = \"{}\"\n{more}\n",
            certificate.display(),
            key.display()
        )
    }

    /// The line that has clients show a certificate.
    pub(crate) fn client_ca(&self) -> String {
        format!("client_ca = \"{}\"", self.ca().display())
    }

    /// A certificate that is odd, in files called so.
    pub(crate) fn issue(&self, odd: Odd, name: &str) -> Identity {
        let mut params = CertificateParams::new(vec!["localhost".into(), "127.0.0.1".into()]).expect("names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![match odd {
            Odd::Server => ExtendedKeyUsagePurpose::ServerAuth,
            _ => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        if odd == Odd::Expired {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
            (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = if odd == Odd::SelfSigned {
            params.self_signed(&key)
        } else {
            let ca_key = fs::read_to_string(self.path("ca-key.pem")).expect("it was made");
            let ca_key = KeyPair::from_pem(&ca_key).expect("a key");
            let ca = fs::read_to_string(self.ca()).expect("it was made");
            params.signed_by(&key, &Issuer::from_ca_cert_pem(&ca, ca_key).expect("a CA"))
        };
        let identity = Identity {
            certificate: self.path(&format!("{name}.pem")),
            key: self.path(&format!("{name}-key.pem")),
        };
        fs::write(&identity.certificate, certificate.expect("signed").pem()).expect("a temporary file");
        write_secret(&identity.key, &key.serialize_pem());
        identity
    }

    /// Replaces the server's certificate and key by others of the same CA.
    #[track_caller]
    pub(crate) fn renew(&self) {
        let folder = TempDir::new_in(self.folder.path()).expect("a temporary folder");
        for name in ["ca.pem", "ca-key.pem"] {
            fs::copy(self.path(name), folder.path().join(name)).expect("copied");
        }
        let output = Command::new(env!("CARGO_BIN_EXE_larder"))
            .args(["tls", "init", "--dir"])
            .arg(folder.path())
            .env_clear()
            .output()
            .expect("the binary starts");
        assert!(output.status.success(), "{output:?}");
        for name in ["server-key.pem", "server.pem"] {
            fs::rename(folder.path().join(name), self.path(name)).expect("renamed");
        }
    }

    /// The server's certificate at this moment, in its file.
    pub(crate) fn server_certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.path("server.pem")).expect("PEM")
    }

    /// The certificate that is served at `addr`; `None` for one that a client refuses.
    pub(crate) fn served_at(
        &self,
        addr: SocketAddr,
        identity: Option<&Identity>,
    ) -> Option<CertificateDer<'static>> {
        let mut connection = self.connect(addr, identity);
        connection.get("/-/healthz").ok()?;
        let chain = connection.stream.get_ref().conn.peer_certificates().expect("it has shown them");
        Some(chain[0].clone().into_owned())
    }

    /// Waits until a new connection sees the certificate of the file.
    #[track_caller]
    pub(crate) fn until_served(&self, addr: SocketAddr, identity: Option<&Identity>) {
        let wanted = self.server_certificate();
        eventually("the new certificate is served", super::PATIENCE, || {
            (self.served_at(addr, identity).as_ref() == Some(&wanted)).then_some(())
        });
    }

    /// A connection, with a client's certificate or without.
    #[track_caller]
    pub(crate) fn connect(&self, addr: SocketAddr, identity: Option<&Identity>) -> KeptAlive {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(self.ca()).expect("it was made") {
            roots.add(certificate.expect("PEM")).expect("a CA");
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("both versions")
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = CertificateDer::pem_file_iter(&identity.certificate).expect("a file");
                let chain = chain.collect::<Result<_, _>>().expect("PEM");
                let key = PrivateKeyDer::from_pem_file(&identity.key).expect("PEM");
                builder.with_client_auth_cert(chain, key).expect("they belong together")
            }
        };
        let name = ServerName::try_from("localhost").expect("a name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("a client");
        let stream = TcpStream::connect(addr).expect("it listens");
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a socket");
        KeptAlive { stream: BufReader::new(StreamOwned::new(connection, stream)) }
    }
}

// === impl KeptAlive ===

impl KeptAlive {
    /// One request on it.
    pub(crate) fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.send("GET", path, b"")
    }

    pub(crate) fn send(&mut self, method: &str, path: &str, body: &[u8]) -> io::Result<Answer> {
        self.send_to("localhost", method, path, body)
    }

    /// One request to `host`.
    pub(crate) fn send_to(
        &mut self,
        host: &str,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> io::Result<Answer> {
        let len = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len}\r\n\r\n");
        let stream = self.stream.get_mut();
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        stream.flush()?;
        read_answer(&mut self.stream, method, Instant::now())
    }
}

/// curl with these arguments, which never asks a proxy.
#[track_caller]
pub(crate) fn curl(arguments: &[&str]) -> Curled {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "60", "--noproxy", "*"])
        .args(["--write-out", "\n%{http_code} %{http_version}"])
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::null())
        .output()
        .expect("curl is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').expect("what --write-out wrote");
    Curled {
        code: output.status.code().expect("an exit code"),
        status: status.to_owned(),
        body: body.to_owned(),
        said: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// curl as a client of this CA, with a certificate or without.
#[track_caller]
pub(crate) fn curl_with(ca: &Path, identity: Option<&Identity>, arguments: &[&str]) -> Curled {
    let mut all = vec!["--cacert", ca.to_str().expect("UTF-8")];
    if let Some(identity) = identity {
        all.extend(["--cert", identity.certificate.to_str().expect("UTF-8")]);
        all.extend(["--key", identity.key.to_str().expect("UTF-8")]);
    }
    all.extend(arguments);
    curl(&all)
}
