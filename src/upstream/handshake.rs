//! A handshake with an upstream alone, without a request of anybody's: for `larder doctor`.
//!
//! It is made with the roots and the certificate that connections for requests have. What a server thinks of a client's
//! certificate it may say only after the handshake, so that a first word is exchanged behind it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::location::{Files, Location, Place};
use super::reapi::{tls_config, tls_words};

/// What is shaken hands with, and how.
#[derive(Debug, Clone)]
pub struct Handshake {
    host: String,
    port: u16,
    /// Of gRPC: HTTP/2 alone.
    is_reapi: bool,
    files: Files,
}

/// How a client of HTTP/2 begins, and its empty settings.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

// === impl Location ===

impl Location {
    /// How hands are shaken with it; `None` where there is no TLS, or that of a cloud.
    pub fn handshake(&self) -> Option<Handshake> {
        match &self.0 {
            Place::Server(server) if !server.is_plain => {
                let (host, port) = match server.host.rsplit_once(':') {
                    Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
                    _ => (&*server.host, 443),
                };
                let host = host.trim_matches(['[', ']']).to_owned();
                let files = Files { ca: server.ca.clone(), own: server.identity.clone() };
                Some(Handshake { host, port, is_reapi: false, files })
            }
            Place::Reapi(service) if service.is_tls => Some(Handshake {
                host: service.host.clone(),
                port: service.port,
                is_reapi: true,
                files: service.files.clone(),
            }),
            Place::Folder(_) | Place::Bucket(_) | Place::Server(_) | Place::Reapi(_) => None,
        }
    }
}

// === impl Handshake ===

impl Handshake {
    /// Our own certificate and its key, if we show one.
    pub fn own(&self) -> Option<(&Path, &Path)> {
        self.files.own.as_ref().map(|(certificate, key)| (&**certificate, &**key))
    }

    /// With whom, for people.
    pub fn peer(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Makes it, on a runtime with timers. Gives the certificates that the server has shown, in DER, its own first.
    ///
    /// # Errors
    /// Why there is none, with what helps where that can be known.
    pub async fn make(&self, within: Duration) -> Result<Vec<Vec<u8>>, String> {
        match tokio::time::timeout(within, self.shake()).await {
            Ok(shaken) => shaken,
            Err(_) => Err(format!("no answer within {} s", within.as_secs())),
        }
    }

    async fn shake(&self) -> Result<Vec<Vec<u8>>, String> {
        let files = self.files.clone();
        let config = tokio::task::spawn_blocking(move || tls_config(&files)).await;
        let mut config = config.map_err(|_ended| "the process ends".to_owned())??;
        if !self.is_reapi {
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
        }
        let tcp = TcpStream::connect((&*self.host, self.port)).await.map_err(|error| error.to_string())?;
        let name = ServerName::try_from(self.host.clone()).map_err(|error| error.to_string())?;
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.map_err(tls_words)?;
        let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let shown = shown.iter().map(|certificate| certificate.to_vec()).collect();
        let first = match self.is_reapi {
            true => HTTP2.to_vec(),
            false => {
                format!("HEAD / HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.peer()).into_bytes()
            }
        };
        stream.write_all(&first).await.map_err(tls_words)?;
        // Any word, or the end, is an answer of one that has taken the certificate.
        stream.read(&mut [0]).await.map_err(tls_words)?;
        Ok(shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hands_are_shaken_by_tls_and_with_no_cloud() {
        let of = |url: &str| Location::parse(url).expect("a place").handshake();
        for (url, peer) in [
            ("https://h/p?ca=/ca", "h:443"),
            ("https://h:9/p", "h:9"),
            ("https://[::1]", "::1:443"),
            ("https://[::1]:9?certificate=/c&key=/k", "::1:9"),
            ("grpcs://h/instance", "h:443"),
            ("grpcs://h:9", "h:9"),
        ] {
            assert_eq!(of(url).map(|handshake| handshake.peer()).as_deref(), Some(peer), "{url}");
        }
        for url in ["http://127.0.0.1", "grpc://127.0.0.1:1", "s3://b", "file:///x"] {
            assert!(of(url).is_none(), "{url}");
        }
        let own = of("https://h?certificate=/c&key=/k").expect("TLS");
        assert_eq!(own.own(), Some((Path::new("/c"), Path::new("/k"))));
    }
}
