//! Variables of single tools: Turborepo, Nx, Rush, lage, sccache, and Azure's.

use super::super::finding::Finding;
use super::{CHECK, Facts};

// === impl Facts ===

impl Facts {
    pub(super) fn javascript(&self, findings: &mut Vec<Finding>) {
        let mut warn = |words: &str, remedy: &str| findings.push(Finding::warning(CHECK, words, remedy));
        if self.has("TURBO_API") && !self.has("TURBO_TOKEN") {
            warn(
                "TURBO_API is set without TURBO_TOKEN: turbo uses no remote cache without a token",
                "`export TURBO_TOKEN=local` (on loopback any word will do), unless `turbo login` has set one",
            );
        }
        if self.has("TURBO_API") && !self.has("TURBO_TEAM") && !self.has("TURBO_TEAMID") {
            warn(
                "TURBO_API is set without TURBO_TEAM: turbo uses no remote cache without a team",
                "`export TURBO_TEAM=web`, unless `.turbo/config.json` names one",
            );
        }
        if self.get("TURBO_TEAMID").is_some_and(|id| !id.starts_with("team_")) {
            warn(
                "TURBO_TEAMID doesn't begin with `team_`: turbo doesn't send it then",
                "use TURBO_TEAM for a name, or an id that begins with `team_`",
            );
        }
        if self.has("NX_SELF_HOSTED_REMOTE_CACHE_SERVER")
            && self.has("NX_CLOUD_ACCESS_TOKEN")
            && self.get("NX_NO_CLOUD") != Some("true")
        {
            warn(
                "NX_CLOUD_ACCESS_TOKEN is set: Nx asks Nx Cloud, and not the self-hosted cache",
                "unset it, or `export NX_NO_CLOUD=true`",
            );
        }
        if self.has("RUSH_BUILD_CACHE_CREDENTIAL") {
            warn(
                "RUSH_BUILD_CACHE_CREDENTIAL is set: with Rush's HTTP plugin a miss is then asked for again and again, \
                 which takes seconds",
                "unset it for the HTTP plugin, which needs none on loopback; it is right for the S3 plugin",
            );
        }
        if self.has("LAGE_WRITE_REMOTE_CACHE") {
            warn(
                "LAGE_WRITE_REMOTE_CACHE is set: no version of lage reads it, whatever its documentation says",
                "`export LAGE_WRITE_CACHE=true` to let lage write",
            );
        }
    }

    pub(super) fn sccache(&self, findings: &mut Vec<Finding>) {
        let mut warn = |words: &str, remedy: &str| findings.push(Finding::warning(CHECK, words, remedy));
        if self.has("SCCACHE_BUCKET") && !self.has("SCCACHE_ENDPOINT") {
            warn(
                "SCCACHE_BUCKET is set without SCCACHE_ENDPOINT: sccache asks Amazon for that bucket",
                "`export SCCACHE_ENDPOINT=http://127.0.0.1:5273/s3 SCCACHE_REGION=auto`",
            );
        }
        let foreign = self.get("AWS_ACCESS_KEY_ID").is_some_and(|id| !id.starts_with("LARDER"));
        if self.has("SCCACHE_ENDPOINT") && foreign && !self.has("SCCACHE_S3_NO_CREDENTIALS") {
            warn(
                "AWS_ACCESS_KEY_ID is set, and is no key of `larder token`: sccache signs with it, and is refused",
                "`export SCCACHE_S3_NO_CREDENTIALS=true`, or use a key of `larder token new --s3`",
            );
        }
    }

    pub(super) fn azure(&self, findings: &mut Vec<Finding>) {
        const OPTIONS: &str = "BACKFILL_CACHE_PROVIDER_OPTIONS";
        const ISSUE: &str = "use the connection string that `larder token new --azure CONTAINER` prints";
        for name in [OPTIONS, "AZURE_STORAGE_CONNECTION_STRING", "SCCACHE_AZURE_CONNECTION_STRING"] {
            if self.get(name).is_some_and(|value| value.contains("UseDevelopmentStorage")) {
                let words = format!(
                    "{name} says UseDevelopmentStorage, with which neither lage nor an upstream works"
                );
                let remedy = if name.starts_with("AZURE") {
                    "name the emulator's account, key and endpoint in full"
                } else {
                    ISSUE
                };
                findings.push(Finding::problem(CHECK, words, remedy));
            }
        }
        let Some(options) = self.get(OPTIONS) else { return };
        if !self.has("BACKFILL_CACHE_PROVIDER") {
            findings.push(Finding::warning(
                CHECK,
                format!("{OPTIONS} is set without BACKFILL_CACHE_PROVIDER: lage ignores it"),
                "`export BACKFILL_CACHE_PROVIDER=azure-blob`",
            ));
        }
        let Ok(parsed) = serde_json::from_str::<serde_json::Value>(options) else {
            let words = format!("{OPTIONS} is not JSON: lage ends with an error");
            return findings.push(Finding::problem(
                CHECK,
                words,
                format!("{ISSUE}, in quotes as docs/lage.md has it"),
            ));
        };
        let connection = parsed["connectionString"].as_str().unwrap_or_default();
        if connection.contains("AccountKey=") && !connection.contains("DefaultEndpointsProtocol=") {
            findings.push(Finding::problem(
                CHECK,
                format!("{OPTIONS} has a key and no `DefaultEndpointsProtocol=`: lage takes it for a SAS"),
                ISSUE,
            ));
        }
    }
}
