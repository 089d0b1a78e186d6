//! What a listener's TLS is made of: read and checked as a whole, or refused in words.
//!
//! TLS 1.2 and 1.3, AES-GCM first, HTTP/2 and HTTP/1.1 by ALPN. Sessions are resumed by tickets that hold all there is
//! to know, so that nothing is kept here of clients that went away; their keys go with the material.

use std::fmt;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{CipherSuite, Error, InconsistentKeys, RootCertStore, ServerConfig};

use super::leaf::Leaf;
use crate::regular;

/// Where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The certificate, and those between it and its CA: PEM.
    pub certificate: PathBuf,
    /// Its key: PEM, and nobody else's to read.
    pub key: PathBuf,
    /// The CAs whose clients are let in: PEM.
    pub client_ca: Option<PathBuf>,
}

/// What a listener's TLS is made of; cheap to clone. One is as another that was made of the same bytes.
#[derive(Clone)]
pub struct Material(Arc<Inner>);

struct Inner {
    files: Files,
    config: Arc<ServerConfig>,
    certificate: CertificateDer<'static>,
    leaf: Leaf,
    clients: Option<Roots>,
    fingerprint: blake3::Hash,
}

/// Whose clients are let in.
struct Roots {
    verifier: Arc<dyn ClientCertVerifier>,
    /// Another for other CAs.
    id: u64,
    /// The CAs themselves.
    authorities: Vec<Leaf>,
}

/// Why it can't be: which key of the listener, and what helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// `certificate`, `key` or `client_ca`.
    pub key: &'static str,
    /// With the file and the remedy.
    pub words: String,
}

/// A file of certificates is not longer.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// In this order they are taken: what processors do in hardware, the shorter key first.
const SUITES_FIRST: [CipherSuite; 6] = [
    CipherSuite::TLS13_AES_128_GCM_SHA256,
    CipherSuite::TLS13_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
];

// === impl Material ===

impl Material {
    /// Reads and checks all of it.
    ///
    /// # Errors
    /// The first thing that is wrong. A certificate that has expired is not among them: see [`Material::expired`].
    pub fn load(files: Files) -> Result<Self, Wrong> {
        let (path, key_path) = (files.certificate.display(), files.key.display());
        let wrong = |key, words| Wrong { key, words };
        let text = read(&files.certificate, false).map_err(|words| wrong("certificate", words))?;
        let key_text = read(&files.key, true).map_err(|words| wrong("key", words))?;
        let chain = certificates(&files.certificate, &text).map_err(|words| wrong("certificate", words))?;
        let key = key(&files.key, &key_text).map_err(|words| wrong("key", words))?;
        let certificate = chain[0].clone();
        let leaf = Leaf::of(&certificate).map_err(|error| {
            wrong("certificate", format!("{path} holds no X.509 certificate: {error}; replace it by one"))
        })?;
        let mut fingerprint = blake3::Hasher::new();
        fingerprint.update(blake3::hash(&text).as_bytes()).update(blake3::hash(&key_text).as_bytes());

        let provider = Arc::new(provider());
        let clients = match &files.client_ca {
            None => None,
            Some(path) => {
                let text = read(path, false).map_err(|words| wrong("client_ca", words))?;
                fingerprint.update(&text);
                Some(Roots::of(path, &text, &provider).map_err(|words| wrong("client_ca", words))?)
            }
        };
        let odd = |error: Error| wrong("certificate", format!("{path} can't be used: {error}; replace it"));
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(odd)?;
        let builder = match &clients {
            Some(roots) => builder.with_client_cert_verifier(Arc::clone(&roots.verifier)),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => wrong(
                "key",
                format!("{key_path} is not the key of {path}: put both in place that were issued together"),
            ),
            error => odd(error),
        })?;
        config.ignore_client_order = true;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(odd)?;
        let fingerprint = fingerprint.finalize();
        Ok(Self(Arc::new(Inner { config: Arc::new(config), files, certificate, leaf, clients, fingerprint })))
    }

    /// Where it was read from.
    pub fn files(&self) -> &Files {
        &self.0.files
    }

    /// Whether its certificate is for this host, as clients see it.
    pub(super) fn names(&self, host: &str) -> bool {
        let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let Ok(name) = ServerName::try_from(host) else { return false };
        ParsedCertificate::try_from(&self.0.certificate)
            .is_ok_and(|certificate| verify_server_name(&certificate, &name).is_ok())
    }

    /// Its certificate.
    pub(super) fn leaf(&self) -> &Leaf {
        &self.0.leaf
    }

    /// The CAs whose clients are let in.
    pub(super) fn authorities(&self) -> &[Leaf] {
        self.0.clients.as_ref().map_or(&[], |roots| &roots.authorities)
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.config)
    }

    /// Whether clients show a certificate.
    pub(super) fn asks_clients(&self) -> bool {
        self.0.clients.is_some()
    }

    /// Which CAs its clients are of; 0 for none.
    pub(super) fn roots_id(&self) -> u64 {
        self.0.clients.as_ref().map_or(0, |roots| roots.id)
    }

    /// Whether a client's chain is of one of its CAs now.
    pub(super) fn verify(&self, chain: &[CertificateDer<'static>]) -> Result<(), Error> {
        match (&self.0.clients, chain.split_first()) {
            (Some(roots), Some((leaf, between))) => {
                roots.verifier.verify_client_cert(leaf, between, UnixTime::now()).map(|_| ())
            }
            _ => Err(Error::NoCertificatesPresented),
        }
    }
}

impl PartialEq for Material {
    fn eq(&self, other: &Self) -> bool {
        self.0.fingerprint == other.0.fingerprint && self.0.files == other.0.files
    }
}

impl Eq for Material {}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Material({:?})", self.0.files)
    }
}

// === impl Roots ===

impl Roots {
    fn of(path: &Path, text: &[u8], provider: &Arc<CryptoProvider>) -> Result<Self, String> {
        let shown = path.display();
        let mut roots = RootCertStore::empty();
        let mut authorities = Vec::new();
        for certificate in certificates(path, text)? {
            // What can't be read of one that is a CA's all the same is only not spoken of.
            authorities.extend(Leaf::of(&certificate));
            roots.add(certificate).map_err(|error| {
                format!("{shown} has a certificate that is no CA's: {error}; name the file of the CA, ca.pem")
            })?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
            .build()
            .map_err(|error| format!("{shown} can't be used: {error}; name the file of the CA, ca.pem"))?;
        let hash = blake3::hash(text);
        let id = hash.as_bytes()[..8].iter().fold(0, |id, byte| id << 8 | u64::from(*byte));
        Ok(Self { verifier, id: id.max(1), authorities })
    }
}

fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    let place = |suite: CipherSuite| SUITES_FIRST.iter().position(|first| *first == suite);
    provider.cipher_suites.sort_by_key(|suite| place(suite.suite()).unwrap_or(SUITES_FIRST.len()));
    provider
}

/// The bytes of a file; a secret one is refused when others can read it.
fn read(path: &Path, secret: bool) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => {
            format!("{shown} is not there; `larder tls init` makes one, or name the file that is meant")
        }
        io::ErrorKind::PermissionDenied => format!(
            "{shown} can't be read by uid {}; make that its owner: `chown {0} {shown}`",
            rustix::process::geteuid().as_raw()
        ),
        io::ErrorKind::InvalidInput => format!("{shown}: {error}; name the PEM file that is meant"),
        _ => format!("{shown} can't be read: {error}; put a readable file in its place"),
    };
    let (file, found) = regular::open(path).map_err(failed)?;
    if secret && found.mode() & 0o077 != 0 {
        let mode = found.mode() & 0o7777;
        return Err(format!("{shown} has mode {mode:04o}, so that others can read it; `chmod 0600 {shown}`"));
    }
    if found.len() > FILE_BYTES_MAX {
        return Err(format!("{shown} is over 1 MiB, which no such file is; name the PEM file that is meant"));
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// All certificates of a file: at least one.
fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let shown = path.display();
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let all = all.map_err(|error| match error {
        pem::Error::MissingSectionEnd { .. } => {
            format!("{shown} is not whole PEM: its end is missing; put it in place again")
        }
        error => format!("{shown} is not whole PEM: {error}; put it in place again"),
    })?;
    if all.is_empty() {
        return Err(format!(
            "{shown} has no `BEGIN CERTIFICATE`, so it is no PEM file of certificates; `openssl x509 -inform der -in \
             {shown}` makes one of DER"
        ));
    }
    Ok(all)
}

fn key(path: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    let shown = path.display();
    let has = |mark: &str| text.windows(mark.len()).any(|window| window == mark.as_bytes());
    if has("BEGIN ENCRYPTED PRIVATE KEY") || has("Proc-Type: 4,ENCRYPTED") {
        return Err(format!(
            "{shown} is encrypted, and a daemon has nobody to ask for the password; `openssl pkey -in {shown}` writes \
             it plain"
        ));
    }
    PrivateKeyDer::from_pem_slice(text).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            format!("{shown} has no `BEGIN PRIVATE KEY`; name the PEM file of the certificate's key")
        }
        // Nothing of a key is shown.
        _ => format!("{shown} is not whole PEM; put it in place again"),
    })
}
