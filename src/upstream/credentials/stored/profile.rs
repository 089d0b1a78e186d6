//! A profile of the AWS tools' files: `~/.aws/credentials` and `~/.aws/config`.
//!
//! Of a profile, the first of these: a role (`role_arn` with `source_profile`, `web_identity_token_file` or
//! `credential_source`), keys, `credential_process`, SSO. SSO's session is that of `aws sso login`, which alone renews
//! it; the keys are asked for with it.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::Value;
use sha1::{Digest as _, Sha1};

use super::super::{AwsKeys, FILE_BYTES_MAX, KeyFile, Keys, Secret};
use super::amazon::{self, Role};
use super::ask::{escape, get};
use super::document::{Document, parse_time};
use super::provide::{Context, Issued, Material, local_time};
use crate::digest::hex;
use crate::regular;

/// As many profiles may stand behind one another.
const DEPTH_MAX: usize = 5;

/// The sections of a file, by name.
#[derive(Debug, Clone, Default)]
struct Sections(BTreeMap<String, Section>);

#[derive(Clone, Default)]
struct Section(BTreeMap<String, Secret>);

/// Both files, and what they are asked with.
struct Files<'a> {
    config: Sections,
    credentials: Sections,
    document: &'a Document,
    context: &'a Context,
}

/// The keys of the document's profile.
pub(super) async fn keys(document: &Document, context: &Context) -> Result<Issued, String> {
    let home = context.places.home.clone().unwrap_or_default();
    let variable = |name: &str| context.places.variables.get(name).map(PathBuf::from);
    let path = |field: &str, name: &str, own: &str| {
        let said = document.get(field).map(PathBuf::from).or_else(|| variable(name));
        said.unwrap_or_else(|| home.join(own))
    };
    let credentials = path("credentials_file", "AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials");
    let config = path("config_file", "AWS_CONFIG_FILE", ".aws/config");
    let read =
        tokio::task::spawn_blocking(move || Ok((read_config(&config)?, read_credentials(credentials)?)));
    let (config, credentials) =
        read.await.map_err(|_ended| "the daemon stops")?.map_err(|words: String| words)?;
    let files = Files { config, credentials, document, context };
    files.resolve(document.needed("profile").to_owned(), 0).await
}

fn read_config(path: &Path) -> Result<Sections, String> {
    let failed = |words: String| format!("the file {}: {words}", path.display());
    match regular::open(path) {
        Ok((_, found)) if found.len() > FILE_BYTES_MAX => {
            Err(failed("is too large for one of the AWS tools".into()))
        }
        Ok((file, _)) => {
            let mut text = String::new();
            file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(|error| failed(error.to_string()))?;
            Ok(Sections::read(&text))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Sections::default()),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// It has secrets: others must not be able to read it.
fn read_credentials(path: PathBuf) -> Result<Sections, String> {
    if !path.exists() {
        return Ok(Sections::default());
    }
    KeyFile::<Sections>::new(path, "").read().map_err(|error| error.message().to_owned())
}

// === impl Sections ===

impl Sections {
    /// What is no section and no `name = value` is passed over: the tools keep nested things here, too.
    fn read(text: &str) -> Self {
        let mut sections = Self::default();
        let mut name = "default".to_owned();
        for line in text.lines() {
            let bare = line.trim();
            if bare.is_empty() || bare.starts_with(['#', ';']) || line.starts_with([' ', '\t']) {
                continue;
            }
            if let Some(head) = bare.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
                name = head.split_whitespace().collect::<Vec<_>>().join(" ");
                sections.0.entry(name.clone()).or_default();
            } else if let Some((key, value)) = bare.split_once('=') {
                let value = Secret::new(value.trim());
                let section = sections.0.entry(name.clone()).or_default();
                section.0.insert(key.trim().to_ascii_lowercase(), value);
            }
        }
        sections
    }
}

impl Keys for Sections {
    fn parse(text: &str, _: &str) -> Result<Self, String> {
        Ok(Self::read(text))
    }
}

impl std::fmt::Debug for Section {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Section({} redacted)", self.0.len())
    }
}

impl Section {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(Secret::expose).filter(|text| !text.is_empty())
    }
}

// === impl Files ===

impl Files<'_> {
    /// What both say of a profile; keys of the credentials file win.
    fn profile(&self, name: &str) -> Result<Section, String> {
        let head = if name == "default" { "default".to_owned() } else { format!("profile {name}") };
        let (config, keys) = (self.config.0.get(&head), self.credentials.0.get(name));
        if config.is_none() && keys.is_none() {
            let shown: String = name.escape_debug().take(60).collect();
            return Err(format!(
                "there is no profile {shown} in the files of the AWS tools: `aws configure` makes one"
            ));
        }
        let mut section = config.cloned().unwrap_or_default();
        section.0.extend(keys.cloned().unwrap_or_default().0);
        Ok(section)
    }

    fn resolve(&self, name: String, depth: usize) -> BoxFuture<'_, Result<Issued, String>> {
        async move {
            if depth > DEPTH_MAX {
                return Err(format!("profile {name} stands behind itself by source_profile"));
            }
            let section = self.profile(&name)?;
            if let Some(arn) = section.get("role_arn") {
                return self.role(&name, arn, &section, depth).await;
            }
            if let Some(keys) = own(&section) {
                return Ok(Issued { material: Material::Aws(keys), until: None, renews: true });
            }
            if let Some(command) = section.get("credential_process") {
                let issued = amazon::process(command).await;
                return issued.map_err(|words| format!("credential_process of profile {name}: {words}"));
            }
            if section.get("sso_session").is_some() || section.get("sso_start_url").is_some() {
                return self.sso(&name, &section).await;
            }
            Err(format!("profile {name} has neither keys nor a role, credential_process or SSO"))
        }
        .boxed()
    }

    async fn role(&self, name: &str, arn: &str, section: &Section, depth: usize) -> Result<Issued, String> {
        if section.get("mfa_serial").is_some() {
            return Err(format!(
                "profile {name} asks for a code of mfa_serial, which nobody enters here: store a command that has the \
                 session (aws-process)"
            ));
        }
        let role = Role {
            arn,
            session: section.get("role_session_name"),
            external_id: section.get("external_id"),
            region: section.get("region"),
            duration: section.get("duration_seconds"),
            endpoint: self.document.get("sts_endpoint"),
        };
        let of_profile = |words: String| format!("profile {name}: {words}");
        if let Some(file) = section.get("web_identity_token_file") {
            return amazon::web_identity_with(file, &role, self.context).await.map_err(of_profile);
        }
        let source = match (section.get("source_profile"), section.get("credential_source")) {
            // It may name itself, and then means its own keys.
            (Some(source), _) if source == name => own(section),
            (Some(source), _) => match self.resolve(source.to_owned(), depth + 1).await?.material {
                Material::Aws(keys) => Some(keys),
                Material::Azure(_) | Material::Bearer(_) | Material::Headers(_) => None,
            },
            (None, Some("Ec2InstanceMetadata")) => aws(amazon::instance(None, self.context).await?),
            (None, Some("EcsContainer")) => {
                let nothing = Document::new(super::document::Kind::named("aws-container")?, [])?;
                aws(amazon::container(&nothing, self.context).await?)
            }
            (None, _) => own(section),
        };
        let source = source.ok_or_else(|| {
            format!("profile {name} has a role, and nothing to ask for it with: give it a source_profile")
        })?;
        amazon::assume_with(&source, &role, self.context).await.map_err(of_profile)
    }

    async fn sso(&self, name: &str, section: &Section) -> Result<Issued, String> {
        let session = section.get("sso_session");
        let of_session = session.and_then(|session| self.config.0.get(&format!("sso-session {session}")));
        let of_session = of_session.cloned().unwrap_or_default();
        let find = |key: &str| of_session.get(key).or_else(|| section.get(key));
        let needed = |key: &str| find(key).ok_or_else(|| format!("profile {name} has no {key}"));
        let (start, region) = (needed("sso_start_url")?, needed("sso_region")?);
        let (account, role) = (needed("sso_account_id")?, needed("sso_role_name")?);
        let remedy = format!("run `aws sso login --profile {name}`");
        let file = hex(&Sha1::digest(session.unwrap_or(start).as_bytes()));
        let cache = self.context.places.home.clone().unwrap_or_default().join(".aws/sso/cache");
        let text = amazon::read_text(&cache.join(format!("{file}.json"))).await;
        let text = text.map_err(|_| format!("there is no SSO session of profile {name}: {remedy}"))?;
        // One that is just being written is read again soon.
        let said: Value = serde_json::from_str(text.expose())
            .map_err(|_| format!("the SSO session of profile {name} can't be read: {remedy}"))?;
        let token = said["accessToken"].as_str().map(Secret::new);
        let token =
            token.ok_or_else(|| format!("the SSO session of profile {name} has no token: {remedy}"))?;
        let until = said["expiresAt"].as_str().and_then(|at| parse_time(&at.replace("UTC", "Z")));
        if let Some(until) = until.filter(|until| *until <= std::time::SystemTime::now()) {
            return Err(format!("SSO session of profile {name} expired at {}: {remedy}", local_time(until)));
        }
        let base = match self.document.get("sso_endpoint") {
            Some(base) => base.trim_end_matches('/').to_owned(),
            None => format!("https://portal.sso.{region}.{}", amazon::domain(region)),
        };
        let url = format!(
            "{base}/federation/credentials?role_name={}&account_id={}",
            escape(role),
            escape(account)
        );
        if !super::provide::is_private(&url) {
            return Err(format!("profile {name} has an sso_region that is none"));
        }
        let reply =
            self.context.asker.send(get(&url, &[("x-amz-sso_bearer_token", token.expose())])?).await?;
        if reply.status == 401 {
            return Err(format!("SSO session of profile {name} is over: {remedy}"));
        }
        let said = reply.json("SSO")?;
        let keys = &said["roleCredentials"];
        let text = |key: &str| keys[key].as_str().map(str::to_owned);
        let (Some(access_key_id), Some(secret_access_key)) = (text("accessKeyId"), text("secretAccessKey"))
        else {
            return Err("SSO answers without keys".into());
        };
        let until =
            keys["expiration"].as_u64().and_then(|ms| UNIX_EPOCH.checked_add(Duration::from_millis(ms)));
        let keys = AwsKeys { access_key_id, secret_access_key, session_token: text("sessionToken") };
        Ok(Issued { material: Material::Aws(keys), until, renews: true })
    }
}

fn own(section: &Section) -> Option<AwsKeys> {
    Some(AwsKeys {
        access_key_id: section.get("aws_access_key_id")?.to_owned(),
        secret_access_key: section.get("aws_secret_access_key")?.to_owned(),
        session_token: section.get("aws_session_token").map(str::to_owned),
    })
}

fn aws(issued: Issued) -> Option<AwsKeys> {
    match issued.material {
        Material::Aws(keys) => Some(keys),
        Material::Azure(_) | Material::Bearer(_) | Material::Headers(_) => None,
    }
}
