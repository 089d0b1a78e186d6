//! What a stored credential gives: what are the keys now, and until when.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::super::azure::{ConnectionString, Keys as AzureKeys};
use super::super::google::Keys as GoogleKeys;
use super::super::headers::Headers;
use super::super::{AwsKeys, Credentials, Keys as _, Secret};
use super::ask::Asker;
use super::command::split;
use super::document::{Document, parse_time};
use super::place::Places;
use super::{amazon, azure, command, google, profile};

/// What signs or is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super::super) enum Material {
    /// An access key.
    Aws(AwsKeys),
    /// An account key, a SAS or a connection string; whose it may be is for the upstream to say.
    Azure(Secret),
    /// A bearer token.
    Bearer(Secret),
    /// Headers.
    Headers(Headers),
}

/// What was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Issued {
    pub(super) material: Material,
    /// When it ends.
    pub(super) until: Option<SystemTime>,
    /// Whether asking again may give another.
    pub(super) renews: bool,
}

/// What is needed to ask.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) places: Arc<Places>,
    pub(super) asker: Arc<Asker>,
}

/// Looks at what can be seen without asking anybody.
///
/// # Errors
/// Words that never quote a value.
pub(super) fn check(document: &Document) -> Result<(), String> {
    match document.kind().name {
        "azure-key" => match AzureKeys::parse(document.needed("key"), "") {
            Ok(AzureKeys::AccountKey(_)) => Ok(()),
            _ => Err("`key` is no account key, which is base64".into()),
        },
        "azure-sas" => match AzureKeys::parse(document.needed("sas"), "") {
            Ok(AzureKeys::Sas(_)) => Ok(()),
            _ => Err("`sas` is no shared access signature, which has `sig=`".into()),
        },
        "azure-connection-string" => {
            let parsed = ConnectionString::parse(document.needed("connection_string"));
            match parsed.map_err(|error| error.message().to_owned())?.keys {
                Credentials::Anonymous => Err("the connection string has neither AccountKey nor \
                                               SharedAccessSignature"
                    .into()),
                _ => Ok(()),
            }
        }
        "google" => google::check(document.needed("json")),
        "token" => Headers::bearer(document.needed("token")).map(drop),
        "headers" => Headers::parse(document.needed("headers"), "").map(drop),
        "aws-process" | "helper" => split(document.needed("command")).map(drop).map_err(Into::into),
        "azure-cli" => {
            document.get("command").map_or(Ok(()), |text| split(text).map(drop).map_err(Into::into))
        }
        _ => Ok(()),
    }?;
    for name in ["sts_endpoint", "sso_endpoint", "authority"] {
        if document.get(name).is_some_and(|url| !is_private(url)) {
            return Err(format!("`{name}` is no https:// address; secrets are sent there"));
        }
    }
    for name in ["url", "endpoint"] {
        let is_url = |url: &str| url.starts_with("http://") || url.starts_with("https://");
        if document.get(name).is_some_and(|url| !is_url(url)) {
            return Err(format!("`{name}` is no address such as http://169.254.169.254"));
        }
    }
    Ok(())
}

/// Whether nobody on the way can read what is sent there.
pub(super) fn is_private(url: &str) -> bool {
    if let Some(rest) = url.strip_prefix("http://") {
        let host = rest.split('/').next().unwrap_or_default();
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let name = name.trim_start_matches('[').trim_end_matches(']');
        return name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    }
    url.starts_with("https://") && !url.contains(['@', ' '])
}

/// Asks whoever has to be asked.
///
/// # Errors
/// Words that complete "the credential …: …", with the remedy.
pub(super) async fn provide(name: &str, document: &Document, context: &Context) -> Result<Issued, String> {
    let issued = match document.kind().name {
        "s3" => Ok(Issued::fixed(Material::Aws(amazon::own(document)), document)),
        "azure-key" => Ok(Issued::fixed(Material::Azure(Secret::new(document.needed("key"))), document)),
        "azure-sas" => Ok(Issued::fixed(Material::Azure(Secret::new(document.needed("sas"))), document)),
        "azure-connection-string" => {
            let string = Secret::new(document.needed("connection_string"));
            Ok(Issued::fixed(Material::Azure(string), document))
        }
        "token" => Ok(Issued::fixed(Material::Bearer(Secret::new(document.needed("token"))), document)),
        "headers" => Headers::parse(document.needed("headers"), "")
            .map(|headers| Issued::fixed(Material::Headers(headers), document)),
        "aws-profile" => profile::keys(document, context).await,
        "aws-process" => amazon::process(document.needed("command")).await,
        "aws-assume-role" => amazon::assume(document, context).await,
        "aws-web-identity" => amazon::web_identity(document, context).await,
        "aws-container" => amazon::container(document, context).await,
        "aws-instance" => amazon::instance(document.get("endpoint"), context).await,
        "google" => google::token(document.needed("json"), context).await,
        "google-metadata" => google::metadata(document.get("endpoint"), context).await,
        "azure-cli" => azure::cli(document.get("command")).await,
        "azure-managed-identity" => azure::managed(document, context).await,
        "azure-workload-identity" => azure::workload(document, context).await,
        "helper" => helper(document.needed("command"), document.needed("uri")).await,
        other => Err(format!("is of the kind {other}, which this version doesn't know")),
    }?;
    match issued.until {
        Some(until) if until <= SystemTime::now() => Err(match issued.renews {
            false => format!("expired at {}: run `larder login {name}`", local_time(until)),
            true => format!(
                "what was given expired at {}: see to who gives it, and to this machine's clock",
                local_time(until)
            ),
        }),
        _ => Ok(issued),
    }
}

/// A command in the credential-helper protocol.
async fn helper(command: &str, uri: &str) -> Result<Issued, String> {
    const WHO: &str = "the answer of the credential helper";
    let asked = format!("{}\n", serde_json::json!({ "uri": uri }));
    let printed = command::run(&format!("{command} get"), asked.as_bytes()).await?;
    let said: Result<Value, _> = serde_json::from_slice(&printed);
    let said = said.map_err(|_| format!("{WHO} is not JSON"))?;
    let headers = said["headers"].as_object().ok_or_else(|| format!("{WHO} has no `headers`"))?;
    let mut lines = Vec::new();
    for (name, values) in headers {
        let values =
            values.as_array().ok_or_else(|| format!("{WHO} has a header whose values are no list"))?;
        for value in values {
            let value = value.as_str().filter(|value| !value.contains(['\n', '\r']));
            let value = value.ok_or_else(|| format!("{WHO} has a header that is no line of text"))?;
            lines.push(format!("{name}: {value}"));
        }
    }
    if lines.is_empty() {
        return Err(format!("{WHO} has no header: log in with that command's own tool"));
    }
    let text = Secret::new(lines.join("\n"));
    let headers = Headers::parse(text.expose(), "").map_err(|words| format!("{WHO}: {words}"))?;
    let until = match &said["expires"] {
        Value::Null => None,
        text => Some(
            text.as_str()
                .and_then(parse_time)
                .ok_or_else(|| format!("{WHO} has an `expires` that is no time"))?,
        ),
    };
    Ok(Issued { material: Material::Headers(headers), until, renews: true })
}

/// The token of an OAuth answer.
pub(super) fn bearer(said: &Value, who: &str) -> Result<Issued, String> {
    let number = |name: &str| {
        let value = &said[name];
        value.as_u64().or_else(|| value.as_str().and_then(|text| text.parse().ok()))
    };
    let token = said["access_token"].as_str().filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| format!("{who} gives no access_token"))?;
    Headers::bearer(token).map_err(|_| format!("{who} gives an access_token that can't be sent"))?;
    let until = match (number("expires_in"), number("expires_on")) {
        (Some(seconds), _) => SystemTime::now().checked_add(Duration::from_secs(seconds)),
        (None, Some(at)) => UNIX_EPOCH.checked_add(Duration::from_secs(at)),
        (None, None) => None,
    };
    Ok(Issued { material: Material::Bearer(Secret::new(token)), until, renews: true })
}

/// `HH:MM` on this machine's clock, with the day if it is another.
pub(super) fn local_time(time: SystemTime) -> String {
    let local = chrono::DateTime::<chrono::Local>::from(time);
    let today = chrono::Local::now().date_naive();
    local.format(if local.date_naive() == today { "%H:%M" } else { "%Y-%m-%d %H:%M" }).to_string()
}

// === impl Issued ===

impl Issued {
    fn fixed(material: Material, document: &Document) -> Self {
        Self { material, until: document.expires(), renews: false }
    }
}

/// Google's keys as they are read elsewhere, too.
pub(super) fn google_keys(text: &str) -> Result<GoogleKeys, String> {
    GoogleKeys::parse(text, "")
}
