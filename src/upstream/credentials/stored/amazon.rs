//! Keys of Amazon: commands, roles, the metadata of containers and instances.

use std::io;
use std::path::Path;

use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::HttpRequestBody;
use serde_json::Value;

use super::super::super::object::element;
use super::super::{AwsKeys, FILE_BYTES_MAX, Secret};
use super::ask::{form, get, request};
use super::command::{self, without_secrets};
use super::document::{Document, parse_time};
use super::provide::{Context, Issued, Material, is_private};

/// The version of STS that is spoken.
const STS_VERSION: &str = "2011-06-15";

/// What a session is called where nobody says it.
const SESSION: &str = "larder";

/// A role, and how it is asked for.
pub(super) struct Role<'a> {
    pub(super) arn: &'a str,
    pub(super) session: Option<&'a str>,
    pub(super) external_id: Option<&'a str>,
    pub(super) region: Option<&'a str>,
    /// Seconds that the keys are to live, as the AWS tools have it.
    pub(super) duration: Option<&'a str>,
    pub(super) endpoint: Option<&'a str>,
}

/// The access key that a document has itself.
pub(super) fn own(document: &Document) -> AwsKeys {
    AwsKeys {
        access_key_id: document.needed("access_key_id").to_owned(),
        secret_access_key: document.needed("secret_access_key").to_owned(),
        session_token: document.get("session_token").map(str::to_owned),
    }
}

/// What a command prints, as `credential_process` has it.
pub(super) async fn process(command: &str) -> Result<Issued, String> {
    const WHO: &str = "what the command prints";
    let printed = command::run(command, b"").await?;
    let said: Result<Value, _> = serde_json::from_slice(&printed);
    let said = said.map_err(|_| format!("{WHO} is not JSON"))?;
    if said["Version"] != 1 {
        return Err(format!("{WHO} is not of Version 1"));
    }
    keys(&said, WHO)
}

/// A role, by an access key.
pub(super) async fn assume(document: &Document, context: &Context) -> Result<Issued, String> {
    assume_with(&own(document), &Role::of(document), context).await
}

/// The same with keys from elsewhere.
pub(super) async fn assume_with(
    keys: &AwsKeys,
    role: &Role<'_>,
    context: &Context,
) -> Result<Issued, String> {
    let mut pairs = vec![
        ("Action", "AssumeRole"),
        ("Version", STS_VERSION),
        ("RoleArn", role.arn),
        ("RoleSessionName", role.session.unwrap_or(SESSION)),
    ];
    pairs.extend(role.external_id.map(|id| ("ExternalId", id)));
    pairs.extend(role.duration.map(|seconds| ("DurationSeconds", seconds)));
    let mut request = form(&role.url()?, &pairs)?;
    let credential = AwsCredential {
        key_id: keys.access_key_id.clone(),
        secret_key: keys.secret_access_key.clone(),
        token: keys.session_token.clone(),
    };
    AwsAuthorizer::new(&credential, "sts", role.region.unwrap_or("us-east-1"))
        .try_authorize(&mut request, None)
        .map_err(|_| "the access key can't sign: copy it whole")?;
    answer(context.asker.send(request).await?, role.arn)
}

/// A role, by a token in a file.
pub(super) async fn web_identity(document: &Document, context: &Context) -> Result<Issued, String> {
    web_identity_with(document.needed("token_file"), &Role::of(document), context).await
}

/// The same for a profile.
pub(super) async fn web_identity_with(
    file: &str,
    role: &Role<'_>,
    context: &Context,
) -> Result<Issued, String> {
    let token = read_token(file).await?;
    let mut pairs = vec![
        ("Action", "AssumeRoleWithWebIdentity"),
        ("Version", STS_VERSION),
        ("RoleArn", role.arn),
        ("RoleSessionName", role.session.unwrap_or(SESSION)),
        ("WebIdentityToken", token.expose()),
    ];
    pairs.extend(role.duration.map(|seconds| ("DurationSeconds", seconds)));
    answer(context.asker.send(form(&role.url()?, &pairs)?).await?, role.arn)
}

/// A token that somebody else keeps in a file. One that is half written is no token, and is asked for again.
pub(super) async fn read_token(path: &str) -> Result<Secret, String> {
    let text = read_text(path.as_ref()).await.map_err(|error| format!("the token file {path}: {error}"))?;
    let token = Secret::new(text.expose().trim());
    if token.expose().is_empty() || token.expose().contains(char::is_whitespace) {
        return Err(format!("the token file {path} holds no token"));
    }
    Ok(token)
}

/// A file that somebody else writes. What is no file is not opened: a pipe would be waited for without an end.
pub(super) async fn read_text(path: &Path) -> io::Result<Secret> {
    let found = tokio::fs::metadata(path).await?;
    if !found.is_file() || found.len() > FILE_BYTES_MAX {
        return Err(io::Error::other("is no file of a few lines"));
    }
    tokio::fs::read_to_string(path).await.map(Secret::new)
}

/// The role of a container.
pub(super) async fn container(document: &Document, context: &Context) -> Result<Issued, String> {
    const WHO: &str = "the container's metadata";
    let variable = |name: &str| context.places.variables.get(name).map(String::as_str);
    let relative =
        variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI").map(|path| format!("http://169.254.170.2{path}"));
    let url = document.get("url").map(str::to_owned).or(relative);
    let url = url.or_else(|| variable("AWS_CONTAINER_CREDENTIALS_FULL_URI").map(str::to_owned));
    let url = url.ok_or("neither `url` nor AWS_CONTAINER_CREDENTIALS_RELATIVE_URI says whom to ask")?;
    let file = document.get("token_file").or_else(|| variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"));
    let token = match (file, variable("AWS_CONTAINER_AUTHORIZATION_TOKEN")) {
        (Some(file), _) => Some(read_token(file).await?),
        (None, token) => token.map(Secret::new),
    };
    let headers = token.as_ref().map(|token| ("authorization", token.expose()));
    let request = get(&url, headers.as_slice())?;
    keys(&context.asker.send(request).await?.json(WHO)?, WHO)
}

/// The role of an instance.
pub(super) async fn instance(endpoint: Option<&str>, context: &Context) -> Result<Issued, String> {
    const WHO: &str = "the instance's metadata";
    let base = endpoint.unwrap_or("http://169.254.169.254").trim_end_matches('/');
    let lives = [("x-aws-ec2-metadata-token-ttl-seconds", "300")];
    let url = format!("{base}/latest/api/token");
    let token = context.asker.send(request("PUT", &url, &lives, HttpRequestBody::empty())?).await?;
    if token.status != 200 {
        return Err(format!("{WHO} answers HTTP {} to a request for a session", token.status));
    }
    let token = Secret::new(token.text());
    let headers = [("x-aws-ec2-metadata-token", token.expose())];
    let roles = format!("{base}/latest/meta-data/iam/security-credentials/");
    let listed = context.asker.send(get(&roles, &headers)?).await?;
    let listed = if listed.status == 200 { listed.text() } else { String::new() };
    let Some(role) = listed.lines().map(str::trim).find(|line| !line.is_empty()) else {
        return Err("the instance has no role: give it an instance profile".into());
    };
    keys(&context.asker.send(get(&format!("{roles}{role}"), &headers)?).await?.json(WHO)?, WHO)
}

/// Keys as commands and metadata services say them.
fn keys(said: &Value, who: &str) -> Result<Issued, String> {
    let text = |name: &str| said[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let needed = |name: &str| text(name).ok_or_else(|| format!("{who} has no {name}"));
    let keys = AwsKeys {
        access_key_id: needed("AccessKeyId")?,
        secret_access_key: needed("SecretAccessKey")?,
        session_token: text("SessionToken").or_else(|| text("Token")),
    };
    let until = match text("Expiration") {
        Some(text) => {
            Some(parse_time(&text).ok_or_else(|| format!("{who} has an Expiration that is no time"))?)
        }
        None => None,
    };
    Ok(Issued { material: Material::Aws(keys), until, renews: true })
}

/// What STS says.
fn answer(reply: super::ask::Reply, role: &str) -> Result<Issued, String> {
    let text = Secret::new(reply.text());
    let part = |name: &str| element(text.expose(), name).filter(|text| !text.is_empty());
    if reply.status != 200 {
        let why: Vec<String> = ["Code", "Message"].iter().filter_map(|name| part(name)).collect();
        let why = without_secrets(&why.join(": "));
        return Err(format!("STS doesn't give the role {role}: HTTP {} {why}", reply.status)
            .trim_end()
            .to_owned());
    }
    let needed = |name: &str| part(name).ok_or_else(|| format!("the answer of STS has no {name}"));
    let keys = AwsKeys {
        access_key_id: needed("AccessKeyId")?,
        secret_access_key: needed("SecretAccessKey")?,
        session_token: part("SessionToken"),
    };
    let until = match part("Expiration") {
        Some(text) => Some(parse_time(&text).ok_or("the answer of STS has an Expiration that is no time")?),
        None => None,
    };
    Ok(Issued { material: Material::Aws(keys), until, renews: true })
}

/// Where the services of a region are: China's have a domain of their own.
pub(super) fn domain(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}

// === impl Role ===

impl<'a> Role<'a> {
    fn of(document: &'a Document) -> Self {
        Self {
            arn: document.needed("role_arn"),
            session: document.get("session_name"),
            external_id: document.get("external_id"),
            region: document.get("region"),
            duration: None,
            endpoint: document.get("sts_endpoint"),
        }
    }

    fn url(&self) -> Result<String, String> {
        let url = match (self.endpoint, self.region) {
            (Some(endpoint), _) => endpoint.to_owned(),
            (None, Some(region)) => format!("https://sts.{region}.{}/", domain(region)),
            (None, None) => "https://sts.amazonaws.com/".into(),
        };
        if is_private(&url) { Ok(url) } else { Err("the region or the STS endpoint is none".into()) }
    }
}
