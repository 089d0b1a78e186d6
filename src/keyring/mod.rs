//! The credentials that Larder issues.

/// Finds them.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    grants: Vec<Grant>,
}

/// What somebody was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Names it in lists; of S3 the access key id.
    pub id: String,
    /// The container or bucket.
    pub place: String,
    /// What it lets do.
    pub access: Access,
    /// When it ends, in seconds since the Unix epoch.
    pub expires: Option<u64>,
    /// The shared secret.
    pub secret: Secret,
}

/// What a grant lets do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Look.
    ReadOnly,
    /// Look, write and delete.
    ReadWrite,
}

/// A shared secret; it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

// === impl Keyring ===

impl Keyring {
    /// One that issues nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// These and no others.
    pub fn of(grants: Vec<Grant>) -> Self {
        Self { grants }
    }

    /// All of a container, those that have ended too.
    pub fn azure(&self, container: &str) -> Vec<Grant> {
        self.grants.iter().filter(|grant| grant.place == container).cloned().collect()
    }

    /// That of an access key id, though it has ended.
    pub fn s3(&self, access_key_id: &str) -> Option<Grant> {
        self.grants.iter().find(|grant| grant.id == access_key_id).cloned()
    }
}

// === impl Secret ===

impl Secret {
    /// One of these bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}
