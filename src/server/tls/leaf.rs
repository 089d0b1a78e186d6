//! What a certificate says of itself: names, and from when to when it holds.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::DateTime;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// The end of a chain: the certificate of the server, or of a client.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    pub(super) common_name: Option<String>,
    /// Subject alternative names: of hosts, addresses, mail addresses and URIs.
    pub(super) alternative: Vec<String>,
    /// Seconds since the epoch.
    pub(super) not_before: i64,
    pub(super) not_after: i64,
}

// === impl Leaf ===

impl Leaf {
    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, certificate) = parse_x509_certificate(certificate).map_err(|error| error.to_string())?;
        let names = certificate.subject_alternative_name().map_err(|error| error.to_string())?;
        let names = names.map(|names| names.value.general_names.iter().filter_map(text).collect());
        let common_name = certificate.subject().iter_common_name().next();
        let validity = certificate.validity();
        Ok(Self {
            common_name: common_name.and_then(|name| name.as_str().ok()).map(str::to_owned),
            alternative: names.unwrap_or_default(),
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
        })
    }

    /// Whether it is called so, by its common name or another of its names.
    pub(super) fn is_called(&self, name: &str) -> bool {
        self.common_name.as_deref() == Some(name) || self.alternative.iter().any(|other| other == name)
    }

    /// What people call it.
    pub(super) fn shown(&self) -> String {
        let name = self.common_name.as_ref().or(self.alternative.first());
        name.map_or_else(|| "without a name".to_owned(), |name| format!("`{}`", name.escape_debug()))
    }
}

fn text(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => {
            Some((*name).to_owned())
        }
        GeneralName::IPAddress(bytes) => {
            let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            four.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok().map(|ip| ip.to_string())
        }
        _ => None,
    }
}

/// The subject alternative names of the first certificate in a text of PEM.
///
/// # Errors
/// What is wrong with it.
pub fn certificate_names(text: &[u8]) -> Result<Vec<String>, String> {
    let certificate = CertificateDer::from_pem_slice(text).map_err(|error| error.to_string())?;
    Ok(Leaf::of(&certificate)?.alternative)
}

/// What a certificate, in DER or PEM, is called, and when it ends: seconds since the epoch.
///
/// # Errors
/// What is wrong with it.
pub fn certificate_end(bytes: &[u8]) -> Result<(String, i64), String> {
    let leaf = match CertificateDer::from_pem_slice(bytes) {
        Ok(certificate) => Leaf::of(&certificate)?,
        Err(_) => Leaf::of(&CertificateDer::from(bytes))?,
    };
    Ok((leaf.shown(), leaf.not_after))
}

/// Seconds since the epoch.
pub(super) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed())
}

/// A time, for people.
pub fn day(seconds: i64) -> String {
    DateTime::from_timestamp(seconds, 0)
        .map_or_else(|| seconds.to_string(), |time| time.format("%Y-%m-%d %H:%M UTC").to_string())
}
