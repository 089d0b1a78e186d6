//! Tokens of Azure.

use chrono::{Local, NaiveDateTime, TimeZone as _};
use serde_json::Value;

use super::amazon::read_token;
use super::ask::{escape, form, get};
use super::command;
use super::document::Document;
use super::provide::{Context, Issued, bearer};

/// What a token is to be good for.
const RESOURCE: &str = "https://storage.azure.com/";

/// How `az` is asked.
const CLI: &str = "az account get-access-token --output json --resource https://storage.azure.com/";

/// Who is logged in to `az`.
pub(super) async fn cli(command: Option<&str>) -> Result<Issued, String> {
    const WHO: &str = "`az`";
    let remedy = |words: String| format!("{words}; run `az login`");
    let printed = command::run(command.unwrap_or(CLI), b"").await.map_err(remedy)?;
    let said: Result<Value, _> = serde_json::from_slice(&printed);
    let said = said.ok().filter(Value::is_object);
    let mut said = said.ok_or_else(|| remedy(format!("what {WHO} prints is not JSON")))?;
    said["access_token"] = said["accessToken"].take();
    if said["expires_on"].is_null()
        && let Some(local) = said["expiresOn"].as_str()
        && let Ok(local) = NaiveDateTime::parse_from_str(local, "%Y-%m-%d %H:%M:%S%.f")
        && let Some(time) = Local.from_local_datetime(&local).earliest()
    {
        // Older ones say it by the clock on the wall.
        said["expires_on"] = time.timestamp().into();
    }
    bearer(&said, WHO)
}

/// The identity of the machine.
pub(super) async fn managed(document: &Document, context: &Context) -> Result<Issued, String> {
    const WHO: &str = "the machine's identity endpoint";
    let variable = |name: &str| context.places.variables.get(name).map(String::as_str);
    let client = document.get("client_id").map(|id| format!("&client_id={}", escape(id))).unwrap_or_default();
    let of_service = variable("IDENTITY_ENDPOINT").zip(variable("IDENTITY_HEADER"));
    let request = match (document.get("endpoint"), of_service) {
        (None, Some((endpoint, header))) => {
            let url = format!("{endpoint}?api-version=2019-08-01&resource={}{client}", escape(RESOURCE));
            get(&url, &[("x-identity-header", header)])?
        }
        (endpoint, _) => {
            let base = endpoint.unwrap_or("http://169.254.169.254").trim_end_matches('/');
            let path = "metadata/identity/oauth2/token";
            let url = format!("{base}/{path}?api-version=2018-02-01&resource={}{client}", escape(RESOURCE));
            get(&url, &[("metadata", "true")])?
        }
    };
    bearer(&context.asker.send(request).await?.json(WHO)?, WHO)
}

/// An application, by a token in a file.
pub(super) async fn workload(document: &Document, context: &Context) -> Result<Issued, String> {
    const WHO: &str = "Microsoft Entra";
    let find = |field: &str, name: &str| {
        let said = document.get(field).or_else(|| context.places.variables.get(name).map(String::as_str));
        said.ok_or_else(|| format!("has neither `{field}` nor {name}"))
    };
    let file = find("token_file", "AZURE_FEDERATED_TOKEN_FILE")?;
    let (tenant, client) = (find("tenant_id", "AZURE_TENANT_ID")?, find("client_id", "AZURE_CLIENT_ID")?);
    let authority = find("authority", "AZURE_AUTHORITY_HOST").unwrap_or("https://login.microsoftonline.com");
    let token = read_token(file).await?;
    let pairs = [
        ("grant_type", "client_credentials"),
        ("client_id", client),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", token.expose()),
        ("scope", "https://storage.azure.com/.default"),
    ];
    let url = format!("{}/{tenant}/oauth2/v2.0/token", authority.trim_end_matches('/'));
    bearer(&context.asker.send(form(&url, &pairs)?).await?.json(WHO)?, WHO)
}
