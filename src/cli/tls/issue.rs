//! What is issued: P-256 keys, a CA for ten years, and certificates for as long as every client takes them.

use chrono::{Datelike as _, Days, NaiveDate, Utc};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, Error, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};

use super::folder::Made;
use crate::digest::hex;

/// A CA with its key.
pub(super) struct Authority(Issuer<'static, KeyPair>);

const AUTHORITY_DAYS: u64 = 3650;

/// Apple's clients take no longer ones.
const LEAF_DAYS: u64 = 825;

/// A new CA.
pub(super) fn authority() -> Result<Made, String> {
    let key = KeyPair::generate().map_err(words)?;
    // A name of its own: of two CAs with one name, a client takes the other for a forged one.
    let id = hex(&blake3::hash(key.public_key_raw()).as_bytes()[..4]);
    let mut params = params(&[], &format!("Larder CA {id}"), AUTHORITY_DAYS)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).map_err(words)?;
    Ok(Made { certificate: certificate.pem(), key: key.serialize_pem() })
}

// === impl Authority ===

impl Authority {
    /// One that was made before.
    pub(super) fn read(certificate: &str, key: &str) -> Result<Self, String> {
        let key =
            KeyPair::from_pem(key).map_err(|error| format!("its key: {error}; put the right one back"))?;
        let issuer = Issuer::from_ca_cert_pem(certificate, key);
        issuer.map(Self).map_err(|error| format!("{error}; put the right one back"))
    }

    /// The daemon's certificate, for these hosts.
    pub(super) fn server(&self, names: &[String]) -> Result<Made, String> {
        self.issue(names, "larder", ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A client's.
    pub(super) fn client(&self, name: &str) -> Result<Made, String> {
        self.issue(&[], name, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn issue(&self, hosts: &[String], name: &str, purpose: ExtendedKeyUsagePurpose) -> Result<Made, String> {
        let mut params = params(hosts, name, LEAF_DAYS)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(words)?;
        let certificate = params.signed_by(&key, &self.0).map_err(words)?;
        Ok(Made { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

fn params(hosts: &[String], name: &str, days: u64) -> Result<CertificateParams, String> {
    let mut params = CertificateParams::new(hosts.to_vec()).map_err(words)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let today = Utc::now().date_naive();
    // From yesterday on: the clocks of clients differ.
    let first = today.checked_sub_days(Days::new(1)).unwrap_or(today);
    let last = today.checked_add_days(Days::new(days)).unwrap_or(today);
    let time = |day: NaiveDate| date_time_ymd(day.year(), day.month() as u8, day.day() as u8);
    (params.not_before, params.not_after) = (time(first), time(last));
    Ok(params)
}

fn words(error: Error) -> String {
    error.to_string()
}
