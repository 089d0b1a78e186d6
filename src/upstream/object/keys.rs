//! Keys for `object_store`: as given, or from a file that may change.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AwsCredential};
use object_store::azure::{AzureAccessKey, AzureCredential, MicrosoftAzureBuilder, split_sas};
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder};
use object_store::{CredentialProvider, StaticCredentialProvider};
use parking_lot::Mutex;

use super::super::credentials::stored::{Keeper, Material};
use super::super::credentials::{AwsKeys, AzureKeys, Credentials, GoogleKeys, KeyFile, Keys, Watched};
use super::service::Seen;
use super::tokens::{Metadata, Tokens};
use super::{invalid, retries};
use crate::error::{Error, Kind, Result};

/// Who has what signs the next request.
trait Signs: fmt::Debug + Send + Sync + 'static {
    /// What signs.
    type With: fmt::Debug + Send + Sync;

    fn now(&self) -> impl Future<Output = object_store::Result<Arc<Self::With>>> + Send;
}

/// One that signs, as `object_store` asks for it.
#[derive(Debug)]
struct Provides<S>(S);

/// Asks the file before each request; see [`KeyFile`].
struct FromFile<K, C> {
    file: Arc<KeyFile<K>>,
    form: fn(K) -> Result<C>,
}

/// Asks the file before each request, and then whoever makes tokens of its keys.
struct TokensFromFile {
    file: Arc<KeyFile<GoogleKeys>>,
    /// The keys and who makes tokens of them. Leaf mutex.
    made: Mutex<Option<(GoogleKeys, Provider)>>,
}

/// Takes what the keeper of a stored credential has.
struct FromStored<C> {
    keeper: Arc<Keeper>,
    form: Form<C>,
    /// The number of what was formed, and that. Leaf mutex.
    formed: Mutex<Option<(u64, Arc<C>)>>,
}

/// Makes of what a credential gives what signs. The error completes "the credential … …".
type Form<C> = Box<dyn Fn(&Material) -> Result<C, String> + Send + Sync>;

#[derive(Clone)]
struct Provider(Arc<dyn CredentialProvider<Credential = GcpCredential>>);

// === impl Provides ===

impl<S: Signs> CredentialProvider for Provides<S> {
    type Credential = S::With;

    fn get_credential<'this, 'call>(
        &'this self,
    ) -> Pin<Box<dyn Future<Output = object_store::Result<Arc<S::With>>> + Send + 'call>>
    where
        'this: 'call,
        Self: 'call,
    {
        Box::pin(self.0.now())
    }
}

// === impl FromFile ===

impl<K: Keys, C: fmt::Debug + Send + Sync + 'static> Signs for FromFile<K, C> {
    type With = C;

    async fn now(&self) -> object_store::Result<Arc<C>> {
        let formed = read(&self.file).await.and_then(self.form);
        formed.map(Arc::new).map_err(no_keys)
    }
}

impl<K, C> fmt::Debug for FromFile<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FromFile({:?})", self.file)
    }
}

// === impl FromStored ===

impl<C> FromStored<C> {
    async fn credential(&self) -> Result<Arc<C>> {
        let (material, serial) = self.keeper.now().await?;
        if let Some((known, formed)) = &*self.formed.lock()
            && *known == serial
        {
            return Ok(Arc::clone(formed));
        }
        let formed = (self.form)(&material).map(Arc::new).map_err(|words| {
            Error::new(Kind::Denied, format!("the credential `{}` {words}", self.keeper.name()))
        })?;
        *self.formed.lock() = Some((serial, Arc::clone(&formed)));
        Ok(formed)
    }
}

impl<C: fmt::Debug + Send + Sync + 'static> Signs for FromStored<C> {
    type With = C;

    async fn now(&self) -> object_store::Result<Arc<C>> {
        self.credential().await.map_err(no_keys)
    }
}

impl<C> fmt::Debug for FromStored<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FromStored({:?})", self.keeper)
    }
}

// === impl TokensFromFile ===

impl TokensFromFile {
    async fn provider(&self) -> Result<Provider> {
        let keys = read(&self.file).await?;
        if let Some((known, provider)) = &*self.made.lock()
            && *known == keys
        {
            return Ok(provider.clone());
        }
        let (file, of) = (Arc::clone(&self.file), keys.clone());
        let made = blocking(move || google(&of, &file)).await?;
        *self.made.lock() = Some((keys, made.clone()));
        Ok(made)
    }
}

impl Signs for TokensFromFile {
    type With = GcpCredential;

    async fn now(&self) -> object_store::Result<Arc<GcpCredential>> {
        let provider = self.provider().await.map_err(no_keys)?;
        provider.0.get_credential().await
    }
}

impl fmt::Debug for TokensFromFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokensFromFile({:?})", self.file)
    }
}

/// Tells `builder` how to sign for S3; the file that the keys come from, if they do.
pub(super) fn sign_s3(
    builder: AmazonS3Builder,
    credentials: &Credentials,
) -> Result<(AmazonS3Builder, Option<Arc<dyn Watched>>)> {
    Ok(match credentials {
        Credentials::Anonymous => (builder.with_skip_signature(true), None),
        Credentials::Keys { access_key_id, secret_access_key, session_token } => {
            let keys = AwsKeys {
                access_key_id: access_key_id.clone(),
                secret_access_key: secret_access_key.clone(),
                session_token: session_token.clone(),
            };
            let provider = StaticCredentialProvider::new(aws(keys)?);
            (builder.with_credentials(Arc::new(provider)), None)
        }
        Credentials::File { path, profile } => {
            let file = KeyFile::new(path.clone(), profile.as_deref().unwrap_or("default"));
            let file = Arc::new(file);
            let provider = Provides(FromFile { file: Arc::clone(&file), form: aws });
            (builder.with_credentials(Arc::new(provider)), Some(file))
        }
        Credentials::Stored(stored) => {
            let keeper = stored.keeper()?;
            let provider = from_stored(keeper, |material| match material {
                Material::Aws(keys) => aws(keys.clone()).map_err(|error| error.message().to_owned()),
                Material::Azure(_) | Material::Bearer(_) | Material::Headers(_) => {
                    Err(of_another("s3", "an access key, a profile, a role or a command that prints keys"))
                }
            });
            let keeper: Arc<dyn Watched> = keeper.clone();
            (builder.with_credentials(Arc::new(provider)), Some(keeper))
        }
        // `object_store`'s own provider, with a client of its own: it speaks plain HTTP, whatever the store does.
        Credentials::InstanceMetadata => {
            let store = builder.clone().build().map_err(invalid)?;
            (builder.with_credentials(Arc::clone(store.credentials())), None)
        }
        Credentials::AccountKey(_) | Credentials::Sas(_) | Credentials::Token(_) => {
            return Err(foreign("s3", "an access key"));
        }
    })
}

/// Tells `builder` how to sign for Azure.
pub(super) fn sign_azure(
    builder: MicrosoftAzureBuilder,
    account: &str,
    credentials: &Credentials,
) -> Result<(MicrosoftAzureBuilder, Option<Arc<dyn Watched>>)> {
    let given = |keys| azure(keys).map(|credential| Arc::new(StaticCredentialProvider::new(credential)));
    match credentials {
        // Without credentials it would look for the machine's identity.
        Credentials::Anonymous => {
            let nothing = StaticCredentialProvider::new(AzureCredential::SASToken(Vec::new()));
            Ok((builder.with_skip_signature(true).with_credentials(Arc::new(nothing)), None))
        }
        Credentials::AccountKey(key) => {
            Ok((builder.with_credentials(given(AzureKeys::AccountKey(key.clone()))?), None))
        }
        Credentials::Sas(token) => {
            Ok((builder.with_credentials(given(AzureKeys::Sas(token.clone()))?), None))
        }
        Credentials::File { path, .. } => {
            let file = Arc::new(KeyFile::new(path.clone(), account));
            let provider = Provides(FromFile { file: Arc::clone(&file), form: azure });
            Ok((builder.with_credentials(Arc::new(provider)), Some(file)))
        }
        Credentials::Stored(stored) => {
            let (keeper, account) = (stored.keeper()?, account.to_owned());
            let provider = from_stored(keeper, move |material| match bearer(material) {
                Some(token) => Ok(AzureCredential::BearerToken(token)),
                None => match material {
                    Material::Azure(text) => AzureKeys::parse(text.expose(), &account)
                        .and_then(|keys| azure(keys).map_err(|error| error.message().to_owned())),
                    Material::Aws(_) | Material::Bearer(_) | Material::Headers(_) => Err(of_another(
                        "azure",
                        "an account key, a SAS, a connection string or an identity of Azure's",
                    )),
                },
            });
            let keeper: Arc<dyn Watched> = keeper.clone();
            Ok((builder.with_credentials(Arc::new(provider)), Some(keeper)))
        }
        Credentials::InstanceMetadata => {
            let own = builder.clone().with_http_connector(Tokens).with_retry(retries(1));
            let store = own.build().map_err(invalid)?;
            Ok((builder.with_credentials(Arc::clone(store.credentials())), None))
        }
        Credentials::Keys { .. } | Credentials::Token(_) => Err(foreign("azure", "an account key or a SAS")),
    }
}

/// Tells `builder` how to sign for Google.
pub(super) fn sign_google(
    builder: GoogleCloudStorageBuilder,
    credentials: &Credentials,
) -> Result<(GoogleCloudStorageBuilder, Option<Arc<dyn Watched>>)> {
    match credentials {
        // Writes are sent with an empty token all the same, which Google refuses.
        Credentials::Anonymous => {
            let nothing = StaticCredentialProvider::new(GcpCredential { bearer: String::new() });
            Ok((builder.with_skip_signature(true).with_credentials(Arc::new(nothing)), None))
        }
        Credentials::File { path, .. } => {
            let file = Arc::new(KeyFile::new(path.clone(), ""));
            let provider = Provides(TokensFromFile { file: Arc::clone(&file), made: Mutex::new(None) });
            Ok((builder.with_credentials(Arc::new(provider)), Some(file)))
        }
        Credentials::InstanceMetadata => Ok((builder.with_credentials(Arc::new(Metadata::new()?)), None)),
        Credentials::Stored(stored) => {
            let keeper = stored.keeper()?;
            let provider = from_stored(keeper, |material| {
                let bearer =
                    bearer(material).ok_or_else(|| of_another("gs", "one of Google's kinds, or a token"));
                bearer.map(|bearer| GcpCredential { bearer })
            });
            let keeper: Arc<dyn Watched> = keeper.clone();
            Ok((builder.with_credentials(Arc::new(provider)), Some(keeper)))
        }
        Credentials::Keys { .. }
        | Credentials::AccountKey(_)
        | Credentials::Sas(_)
        | Credentials::Token(_) => Err(foreign("gs", "a credentials file")),
    }
}

fn from_stored<C>(
    keeper: &Arc<Keeper>,
    form: impl Fn(&Material) -> Result<C, String> + Send + Sync + 'static,
) -> Provides<FromStored<C>> {
    Provides(FromStored { keeper: Arc::clone(keeper), form: Box::new(form), formed: Mutex::new(None) })
}

/// The token, where it is one.
fn bearer(material: &Material) -> Option<String> {
    match material {
        Material::Bearer(token) => Some(token.expose().to_owned()),
        Material::Headers(headers) => headers.bearer_token().map(str::to_owned),
        Material::Aws(_) | Material::Azure(_) => None,
    }
}

fn of_another(scheme: &str, wanted: &str) -> String {
    format!("is of a kind that an {scheme} upstream doesn't take: it takes {wanted}; log in with one")
}

/// The keys of `file` as they are now.
async fn read<K: Keys>(file: &Arc<KeyFile<K>>) -> Result<K> {
    if let Some(keys) = file.fresh() {
        return keys;
    }
    let file = Arc::clone(file);
    blocking(move || file.read()).await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(Error::new(Kind::Unavailable, "the upstream runtime has stopped")))
}

/// Notes for the running call that there is nothing to sign with.
fn no_keys(error: Error) -> object_store::Error {
    Seen::no_keys(error.to_string());
    object_store::Error::Generic { store: "credentials", source: Box::new(error) }
}

fn aws(keys: AwsKeys) -> Result<AwsCredential> {
    Ok(AwsCredential {
        key_id: keys.access_key_id,
        secret_key: keys.secret_access_key,
        token: keys.session_token,
    })
}

fn azure(keys: AzureKeys) -> Result<AzureCredential> {
    // What is wrong with a secret is not told by quoting it.
    let wrong = |words: &'static str| Error::new(Kind::Denied, words);
    match keys {
        AzureKeys::AccountKey(key) => AzureAccessKey::try_new(&key)
            .map(AzureCredential::AccessKey)
            .map_err(|_| wrong("the account key is not base64: copy it whole")),
        AzureKeys::Sas(token) => split_sas(&token).map(AzureCredential::SASToken).map_err(|_| {
            wrong("the SAS is not name=value&name=value: copy it whole, without the URL before `?`")
        }),
    }
}

/// Who makes tokens of `keys`: a service account signs them here, a person's are asked for.
fn google(keys: &GoogleKeys, file: &KeyFile<GoogleKeys>) -> Result<Provider> {
    // A bucket that nobody asks: only its credentials are taken.
    let builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name("none")
        .with_http_connector(Tokens)
        .with_retry(retries(1));
    let builder = match keys {
        GoogleKeys::ServiceAccount(text) => builder.with_service_account_key(&**text),
        // Read once more, by `object_store`, which takes these from a file only.
        GoogleKeys::User(_) => builder.with_application_credentials(file.path().to_string_lossy()),
    };
    match builder.build() {
        Ok(store) => Ok(Provider(Arc::clone(store.credentials()))),
        Err(_) => Err(Error::new(
            Kind::Denied,
            format!(
                "the credentials file {}: its private key can't be used: download it again",
                file.path().display()
            ),
        )),
    }
}

fn foreign(scheme: &str, wanted: &str) -> Error {
    Error::invalid(format!("keys that an {scheme} upstream doesn't take: it takes {wanted}"))
}
