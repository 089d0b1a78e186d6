//! Tokens of Google.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use object_store::gcp::GoogleCloudStorageBuilder;
use serde_json::Value;

use super::super::Secret;
use super::super::google::Keys;
use super::amazon::{read_text, read_token};
use super::ask::{add, form, get, json};
use super::document::parse_time;
use super::provide::{Context, Issued, Material, bearer, google_keys, is_private};

/// A token that a service account signs itself lives this long: Google takes none for longer.
const SIGNED: Duration = Duration::from_secs(3600);

/// What a token is to be good for.
const SCOPE: &str = "https://www.googleapis.com/auth/devstorage.read_write";

/// Who makes tokens of a person's, where the file doesn't say another.
const OAUTH: &str = "https://oauth2.googleapis.com/token";

/// Looks at Google's JSON.
pub(super) fn check(text: &str) -> Result<(), String> {
    let said: Value = serde_json::from_str(text).map_err(|_| "is not JSON, as Google's key files are")?;
    match said["type"].as_str() {
        Some("external_account") => External::of(&said).map(drop),
        _ => google_keys(text).map(drop),
    }
}

/// A token.
pub(super) async fn token(text: &str, context: &Context) -> Result<Issued, String> {
    let said: Value = serde_json::from_str(text).map_err(|_| "is not JSON, as Google's key files are")?;
    if said["type"] == "external_account" {
        return External::of(&said)?.token(context).await;
    }
    match google_keys(text)? {
        Keys::ServiceAccount(text) => signed(text).await,
        Keys::User(_) => {
            const WHO: &str = "Google";
            let part = |name: &str| said[name].as_str().unwrap_or_default();
            let url = said["token_uri"].as_str().filter(|url| is_private(url)).unwrap_or(OAUTH);
            let pairs = [
                ("grant_type", "refresh_token"),
                ("client_id", part("client_id")),
                ("client_secret", part("client_secret")),
                ("refresh_token", part("refresh_token")),
            ];
            let reply = context.asker.send(form(url, &pairs)?).await?;
            let remedy =
                |words| format!("{words}; run `gcloud auth application-default login`, and log in anew");
            bearer(&reply.json(WHO).map_err(remedy)?, WHO)
        }
    }
}

/// A service account signs its tokens itself, here.
async fn signed(text: Arc<str>) -> Result<Issued, String> {
    let unusable = "its private key can't be used: download it again";
    let asked = SystemTime::now();
    let builder = GoogleCloudStorageBuilder::new().with_bucket_name("none").with_service_account_key(&*text);
    let made =
        tokio::task::spawn_blocking(move || builder.build()).await.map_err(|_ended| "the daemon stops")?;
    let store = made.map_err(|_| unusable)?;
    let token = store.credentials().get_credential().await.map_err(|_| unusable)?;
    let material = Material::Bearer(Secret::new(token.bearer.clone()));
    Ok(Issued { material, until: asked.checked_add(SIGNED), renews: true })
}

/// That of the machine.
pub(super) async fn metadata(endpoint: Option<&str>, context: &Context) -> Result<Issued, String> {
    const WHO: &str = "the machine's metadata service";
    let base = endpoint.unwrap_or("http://metadata.google.internal").trim_end_matches('/');
    let url = format!("{base}/computeMetadata/v1/instance/service-accounts/default/token");
    let reply = context.asker.send(get(&url, &[("metadata-flavor", "Google")])?).await?;
    bearer(&reply.json(WHO)?, WHO)
}

/// Workload identity federation: a token of somebody else's is exchanged.
struct External<'a> {
    audience: &'a str,
    token_type: &'a str,
    token_url: &'a str,
    impersonate: Option<&'a str>,
    source: &'a Value,
}

// === impl External ===

impl<'a> External<'a> {
    fn of(said: &'a Value) -> Result<Self, String> {
        let needed =
            |name: &str| said[name].as_str().ok_or_else(|| format!("external_account has no {name}"));
        let external = Self {
            audience: needed("audience")?,
            token_type: needed("subject_token_type")?,
            token_url: needed("token_url")?,
            impersonate: said["service_account_impersonation_url"].as_str(),
            source: &said["credential_source"],
        };
        if external.source["file"].as_str().or(external.source["url"].as_str()).is_none() {
            return Err("external_account has a credential_source that is neither a file nor a url; those of AWS and \
                        of executables are not known: use a `helper`"
                .into());
        }
        if [Some(external.token_url), external.impersonate].into_iter().flatten().any(|url| !is_private(url))
        {
            return Err("external_account has an address that is not https://; secrets are sent there".into());
        }
        Ok(external)
    }

    async fn token(&self, context: &Context) -> Result<Issued, String> {
        const WHO: &str = "Google's STS";
        let subject = self.subject(context).await?;
        let pairs = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("audience", self.audience),
            ("scope", "https://www.googleapis.com/auth/cloud-platform"),
            ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("subject_token_type", self.token_type),
            ("subject_token", subject.expose()),
        ];
        let issued = bearer(&context.asker.send(form(self.token_url, &pairs)?).await?.json(WHO)?, WHO)?;
        let (Some(url), Material::Bearer(token)) = (self.impersonate, &issued.material) else {
            return Ok(issued);
        };
        let authorization = Secret::new(format!("Bearer {}", token.expose()));
        let body = serde_json::json!({ "scope": [SCOPE] });
        let request = json(url, &[("authorization", authorization.expose())], &body)?;
        let who = "Google's IAM";
        let said = context.asker.send(request).await?.json(who)?;
        let token = said["accessToken"].as_str().ok_or_else(|| format!("{who} gives no accessToken"))?;
        let until = said["expireTime"].as_str().and_then(parse_time);
        Ok(Issued { material: Material::Bearer(Secret::new(token)), until, renews: true })
    }

    /// The token that is exchanged.
    async fn subject(&self, context: &Context) -> Result<Secret, String> {
        let (format, field) =
            (&self.source["format"]["type"], self.source["format"]["subject_token_field_name"].as_str());
        let text = match (self.source["file"].as_str(), self.source["url"].as_str()) {
            (Some(path), _) if format != "json" => return read_token(path).await,
            (Some(path), _) => {
                let text = read_text(path.as_ref()).await;
                text.map_err(|error| format!("the token file {path}: {error}"))?
            }
            (None, url) => {
                let headers = self.source["headers"].as_object();
                let mut request = get(url.unwrap_or_default(), &[])?;
                for (name, value) in headers.into_iter().flatten() {
                    let value = value.as_str().unwrap_or_default();
                    add(&mut request, name, value)?;
                }
                let reply = context.asker.send(request).await?;
                if reply.status != 200 {
                    return Err(format!("the credential_source answers HTTP {}", reply.status));
                }
                Secret::new(reply.text())
            }
        };
        if format != "json" {
            return Ok(Secret::new(text.expose().trim()));
        }
        let said: Value =
            serde_json::from_str(text.expose()).map_err(|_| "the credential_source is not JSON")?;
        let token = field.and_then(|field| said[field].as_str());
        token.map(Secret::new).ok_or_else(|| "the credential_source has no such token".into())
    }
}
