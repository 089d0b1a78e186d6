//! Each kind that asks somebody, over loopback or a command.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::super::ask::Asker;
use super::super::document::Document;
use super::super::place::Places;
use super::super::provide::{Context, Issued, Material, provide};

/// Answers each request with the next of what it was given, and keeps what it was asked.
pub(super) struct Issuer {
    addr: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Issuer {
    pub(super) async fn new(answers: Vec<(u16, String)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
        let addr = listener.local_addr().expect("bound");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            for (status, body) in answers {
                let (mut client, _) = listener.accept().await.expect("a client");
                let mut request = Vec::new();
                let length = loop {
                    request.push(client.read_u8().await.expect("a head"));
                    if request.ends_with(b"\r\n\r\n") {
                        let head = String::from_utf8_lossy(&request).to_ascii_lowercase();
                        let length =
                            head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                        break length.unwrap_or(0);
                    }
                };
                let mut rest = vec![0; length];
                client.read_exact(&mut rest).await.expect("a body");
                request.extend(rest);
                seen.lock().push(String::from_utf8_lossy(&request).into_owned());
                let head =
                    format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}", body.len());
                client.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await.expect("it is read");
            }
        });
        Self { addr, asked, task }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// What it was asked, once it has answered all.
    pub(super) async fn asked(self) -> Vec<String> {
        self.task.await.expect("all was asked");
        std::mem::take(&mut *self.asked.lock())
    }
}

pub(super) fn context(home: &Path, variables: &[(&str, &str)]) -> Context {
    let variables: BTreeMap<String, String> =
        variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let places = Places { home: Some(home.into()), variables, ..Places::new(home) };
    Context { places: Arc::new(places), asker: Arc::<Asker>::default() }
}

pub(super) async fn given(document: Value, context: &Context) -> Result<Issued, String> {
    let document = Document::parse(&document.to_string()).expect("a document");
    provide("work", &document, context).await
}

pub(super) fn write(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a temporary folder");
    std::fs::write(path, text).expect("a temporary file");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("our own");
}

fn aws(issued: &Issued) -> (String, String, Option<String>) {
    match &issued.material {
        Material::Aws(keys) => {
            (keys.access_key_id.clone(), keys.secret_access_key.clone(), keys.session_token.clone())
        }
        other => panic!("{other:?}"),
    }
}

fn bearer(issued: &Issued) -> &str {
    match &issued.material {
        Material::Bearer(token) => token.expose(),
        other => panic!("{other:?}"),
    }
}

pub(super) fn is_in_an_hour(issued: &Issued) -> bool {
    let left =
        issued.until.and_then(|until| until.duration_since(SystemTime::now()).ok()).unwrap_or_default();
    left > Duration::from_secs(3500) && left <= Duration::from_secs(3600)
}

pub(super) fn in_an_hour() -> String {
    chrono::DateTime::<chrono::Utc>::from(SystemTime::now() + Duration::from_secs(3600)).to_rfc3339()
}

pub(super) fn sts(until: &str) -> String {
    format!(
        "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA1</AccessKeyId>\
         <SecretAccessKey>s3/cret+</SecretAccessKey><SessionToken>t0ken==</SessionToken>\
         <Expiration>{until}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"
    )
}

fn assumed() -> (String, String, Option<String>) {
    ("ASIA1".into(), "s3/cret+".into(), Some("t0ken==".into()))
}

#[tokio::test]
async fn static_kinds_need_nobody_and_end_when_they_say() {
    let home = tempfile::tempdir().expect("a folder");
    let context = context(home.path(), &[]);
    let keys = |expires: &str| json!({"kind":"s3","access_key_id":"a","secret_access_key":"s3cret","expires":expires});
    let issued = given(keys("2999-01-01T00:00:00Z"), &context).await.expect("keys");
    assert!(issued.until.is_some() && !issued.renews && aws(&issued).1 == "s3cret");
    let words = given(keys("2020-01-01T00:00:00Z"), &context).await.expect_err("it is over");
    assert!(words.starts_with("expired at 20") && words.ends_with("run `larder login work`"), "{words}");
}

#[tokio::test]
async fn roles_are_assumed_with_signed_and_with_unsigned_questions() {
    let home = tempfile::tempdir().expect("a folder");
    let context = context(home.path(), &[]);
    let refusal = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no: secret=s3cret</Message></Error>\
                   </ErrorResponse>";
    let issuer =
        Issuer::new(vec![(200, sts(&in_an_hour())), (403, refusal.into()), (200, sts(&in_an_hour()))]).await;
    let role = json!({"kind":"aws-assume-role","role_arn":"arn:aws:iam::1:role/x","access_key_id":"AK",
                      "secret_access_key":"s3cret","external_id":"e/1","sts_endpoint":issuer.url()});
    let issued = given(role.clone(), &context).await.expect("a role");
    assert!(aws(&issued) == assumed() && is_in_an_hour(&issued) && issued.renews, "{issued:?}");
    let words = given(role, &context).await.expect_err("refused");
    assert!(words.contains("HTTP 403 AccessDenied") && !words.contains("s3cret"), "{words}");
    let file = home.path().join("token");
    write(&file, "web-t0ken\n");
    let web = json!({"kind":"aws-web-identity","role_arn":"arn:aws:iam::1:role/y","token_file":file,
                     "sts_endpoint":issuer.url()});
    assert_eq!(aws(&given(web.clone(), &context).await.expect("a role")), assumed());
    write(&file, "");
    let words = given(web, &context).await.expect_err("half-written");
    assert!(words.contains("holds no token"), "{words}");
    let asked = issuer.asked().await;
    assert!(
        asked[0].contains("Credential=AK/") && asked[0].contains("/us-east-1/sts/aws4_request"),
        "{}",
        asked[0]
    );
    assert!(asked[0].contains("ExternalId=e%2F1") && asked[0].contains("Action=AssumeRole&"), "{}", asked[0]);
    assert!(asked[2].contains("WebIdentityToken=web-t0ken"), "{}", asked[2]);
    assert!(!asked[2].to_ascii_lowercase().contains("authorization:"), "{}", asked[2]);
}

#[tokio::test]
async fn profiles_have_keys_or_roles_or_commands_or_sessions() {
    let home = tempfile::tempdir().expect("a folder");
    let context = context(home.path(), &[]);
    let until = in_an_hour();
    let hour_ms =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("now").as_millis() as u64 + 3_600_000;
    let sso = json!({"roleCredentials":{"accessKeyId":"ASIA2","secretAccessKey":"s3cret","sessionToken":"t",
                                        "expiration":hour_ms}});
    let issuer = Issuer::new(vec![(200, sts(&until)), (200, sso.to_string()), (401, "{}".into())]).await;
    write(
        &home.path().join(".aws/credentials"),
        "[base]\naws_access_key_id = AKbase\naws_secret_access_key = s3cret\n",
    );
    write(
        &home.path().join(".aws/config"),
        "[profile base]\nregion = eu-central-1\ns3 =\n  max_queue_size = 1\n[profile role]\nrole_arn = arn:r\n\
         source_profile = base\n[profile loop]\nrole_arn = arn:l\nsource_profile = loop2\n[profile loop2]\n\
         role_arn = arn:l\nsource_profile = loop\n[profile process]\ncredential_process = printf '{}'\n\
         [profile build]\nsso_session = corp\nsso_account_id = 1\nsso_role_name = r/1\n[sso-session corp]\n\
         sso_start_url = https://x\nsso_region = eu-central-1\n[profile empty]\n",
    );
    let profile = |name: &str| json!({"kind":"aws-profile","profile":name,"sts_endpoint":issuer.url(),"sso_endpoint":issuer.url()});
    let issued = given(profile("base"), &context).await.expect("keys");
    assert_eq!(aws(&issued), ("AKbase".into(), "s3cret".into(), None));
    assert_eq!(aws(&given(profile("role"), &context).await.expect("a role")), assumed());
    for (name, word) in [
        ("loop", "behind itself"),
        ("process", "Version 1"),
        ("empty", "neither keys nor"),
        ("absent", "aws configure"),
        ("build", "run `aws sso login --profile build`"),
    ] {
        let words = given(profile(name), &context).await.expect_err(name);
        assert!(words.contains(word), "{name}: {words}");
    }
    // The name of the session's file is its SHA-1.
    let name = crate::digest::hex(&<sha1::Sha1 as sha1::Digest>::digest(b"corp"));
    let cache = home.path().join(".aws/sso/cache").join(format!("{name}.json"));
    write(&cache, &json!({"accessToken":"sso-t0ken","expiresAt":"2020-01-01T10:00:00Z"}).to_string());
    let words = given(profile("build"), &context).await.expect_err("over");
    let expired = words.strip_prefix("SSO session of profile build expired at 20").unwrap_or_default();
    assert!(expired.ends_with(": run `aws sso login --profile build`"), "{words}");
    write(&cache, "{\"accessTok");
    assert!(given(profile("build"), &context).await.is_err(), "half-written");
    write(&cache, &json!({"accessToken":"sso-t0ken","expiresAt":until}).to_string());
    let issued = given(profile("build"), &context).await.expect("keys");
    assert!(aws(&issued).0 == "ASIA2" && is_in_an_hour(&issued), "{issued:?}");
    let words = given(profile("build"), &context).await.expect_err("taken back");
    assert!(words.contains("aws sso login"), "{words}");
    let asked = issuer.asked().await;
    assert!(asked[0].contains("Credential=AKbase/"), "{}", asked[0]);
    assert!(
        asked[1].starts_with("GET /federation/credentials?role_name=r%2F1&account_id=1 "),
        "{}",
        asked[1]
    );
    assert!(asked[1].contains("x-amz-sso_bearer_token: sso-t0ken"), "{}", asked[1]);
}

#[tokio::test]
async fn containers_and_instances_have_roles() {
    let home = tempfile::tempdir().expect("a folder");
    let keys =
        json!({"AccessKeyId":"ASIA3","SecretAccessKey":"s3cret","Token":"t","Expiration":in_an_hour()});
    let issuer = Issuer::new(vec![
        (200, keys.to_string()),
        (200, "session".into()),
        (200, "build\n".into()),
        (200, keys.to_string()),
        (404, String::new()),
    ])
    .await;
    let url = format!("{}/v2/creds", issuer.url());
    let variables =
        [("AWS_CONTAINER_CREDENTIALS_FULL_URI", &*url), ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "pod-t0ken")];
    let context = context(home.path(), &variables);
    let issued = given(json!({"kind":"aws-container"}), &context).await.expect("keys");
    assert!(aws(&issued).0 == "ASIA3" && is_in_an_hour(&issued));
    let instance = json!({"kind":"aws-instance","endpoint":issuer.url()});
    assert_eq!(aws(&given(instance.clone(), &context).await.expect("keys")).2.as_deref(), Some("t"));
    let words = given(instance, &context).await.expect_err("no such service");
    assert!(words.contains("HTTP 404"), "{words}");
    let asked = issuer.asked().await;
    assert!(asked[0].contains("authorization: pod-t0ken"), "{}", asked[0]);
    assert!(asked[1].starts_with("PUT /latest/api/token "), "{}", asked[1]);
    let path = "GET /latest/meta-data/iam/security-credentials/build ";
    assert!(
        asked[3].starts_with(path) && asked[3].contains("x-aws-ec2-metadata-token: session"),
        "{}",
        asked[3]
    );
}

#[tokio::test]
async fn commands_print_keys_and_headers() {
    let home = tempfile::tempdir().expect("a folder");
    let context = context(home.path(), &[]);
    let script = |name: &str, text: &str| {
        let path = home.path().join(name);
        write(&path, text);
        format!("sh {}", path.display())
    };
    let process = script(
        "process",
        &format!(
            r#"echo '{{"Version":1,"AccessKeyId":"ASIA4","SecretAccessKey":"s3cret","Expiration":"{}"}}'"#,
            in_an_hour()
        ),
    );
    let issued = given(json!({"kind":"aws-process","command":process}), &context).await.expect("keys");
    assert!(aws(&issued).0 == "ASIA4" && is_in_an_hour(&issued) && issued.renews);
    let helper = script(
        "helper",
        r#"test "$1" = get && read line && test "$line" = '{"uri":"https://cache.test/x"}' &&
           echo '{"headers":{"Authorization":["Bearer t0ken"],"X-Two":["a","b"]},"expires":"2999-01-01T00:00:00Z"}'"#,
    );
    let asked = json!({"kind":"helper","command":helper,"uri":"https://cache.test/x"});
    let issued = given(asked, &context).await.expect("headers");
    let Material::Headers(headers) = &issued.material else { panic!("{issued:?}") };
    let pairs: Vec<_> = headers.iter().collect();
    assert_eq!(pairs, [("authorization", "Bearer t0ken"), ("x-two", "a"), ("x-two", "b")]);
    for (kind, text, word) in [
        ("helper", "echo s3cret", "not JSON"),
        ("helper", "echo '{}'", "no `headers`"),
        ("helper", r#"echo '{"headers":{}}'"#, "no header"),
        ("helper", r#"printf %s '{"headers":{"a":["s3cret\nx: y"]}}'"#, "no line of text"),
        ("helper", r#"echo '{"headers":{"Host":["s3cret"]}}'"#, "belongs to the request"),
        ("helper", r#"echo '{"headers":{"a":["b"]},"expires":"s3cret"}'"#, "no time"),
        ("helper", r#"echo '{"headers":{"a":["b"]},"expires":"2020-01-01T00:00:00Z"}'"#, "expired at"),
        ("aws-process", "echo s3cret", "not JSON"),
        ("aws-process", r#"echo '{"Version":2}'"#, "Version 1"),
        ("aws-process", r#"echo '{"Version":1,"AccessKeyId":"s3cret"}'"#, "no SecretAccessKey"),
        ("aws-process", "echo password=s3cret >&2; exit 1", "ended with 1: password=…"),
        ("aws-process", "exit 3", "ended with 3"),
    ] {
        let command = script("bad", text);
        let mut document = json!({"kind":kind,"command":command});
        if kind == "helper" {
            document["uri"] = "https://cache.test".into();
        }
        let words = given(document, &context).await.expect_err(text);
        assert!(words.contains(word) && !words.contains("s3cret"), "{text}: {words}");
    }
}

#[tokio::test]
async fn googles_tokens() {
    let home = tempfile::tempdir().expect("a folder");
    let context = context(home.path(), &[]);
    let token = json!({"access_token":"ya29","expires_in":3600}).to_string();
    let refusal = json!({"error":"invalid_grant","error_description":"Token has been expired or revoked."});
    let impersonated = json!({"accessToken":"ya30","expireTime":in_an_hour()}).to_string();
    let answers = vec![
        (200, token.clone()),
        (400, refusal.to_string()),
        (200, token.clone()),
        (200, impersonated),
        (200, token),
    ];
    let issuer = Issuer::new(answers).await;
    let user = json!({"type":"authorized_user","client_id":"a","client_secret":"b","refresh_token":"r3fresh",
                      "token_uri":issuer.url()});
    let user = json!({"kind":"google","json":user.to_string()});
    let issued = given(user.clone(), &context).await.expect("a token");
    assert!(bearer(&issued) == "ya29" && is_in_an_hour(&issued));
    let words = given(user, &context).await.expect_err("taken back");
    assert!(
        words.contains("invalid_grant") && words.contains("gcloud auth application-default login"),
        "{words}"
    );
    let file = home.path().join("oidc");
    write(&file, r#"{"id":"oidc-t0ken"}"#);
    let external = json!({"type":"external_account","audience":"//iam/x","subject_token_type":"jwt",
        "token_url":issuer.url(),"service_account_impersonation_url":format!("{}/imp", issuer.url()),
        "credential_source":{"file":file,"format":{"type":"json","subject_token_field_name":"id"}}});
    let issued =
        given(json!({"kind":"google","json":external.to_string()}), &context).await.expect("a token");
    assert!(bearer(&issued) == "ya30" && is_in_an_hour(&issued));
    let metadata = json!({"kind":"google-metadata","endpoint":issuer.url()});
    assert_eq!(bearer(&given(metadata, &context).await.expect("a token")), "ya29");
    let asked = issuer.asked().await;
    assert!(asked[0].contains("refresh_token=r3fresh"), "{}", asked[0]);
    assert!(asked[2].contains("subject_token=oidc-t0ken"), "{}", asked[2]);
    assert!(
        asked[3].starts_with("POST /imp ") && asked[3].contains("authorization: Bearer ya29"),
        "{}",
        asked[3]
    );
    assert!(asked[4].contains("metadata-flavor: Google"), "{}", asked[4]);
}

#[tokio::test]
async fn azures_tokens() {
    let home = tempfile::tempdir().expect("a folder");
    let file = home.path().join("federated");
    write(&file, "fed-t0ken");
    let path = file.display().to_string();
    let context = context(home.path(), &[("AZURE_FEDERATED_TOKEN_FILE", &path), ("AZURE_TENANT_ID", "ten")]);
    let token = json!({"access_token":"eyJ0","expires_in":"3600"}).to_string();
    let issuer =
        Issuer::new(vec![(200, token.clone()), (200, token), (400, r#"{"error":"invalid_client"}"#.into())])
            .await;
    let managed = json!({"kind":"azure-managed-identity","client_id":"c/1","endpoint":issuer.url()});
    let issued = given(managed, &context).await.expect("a token");
    assert!(bearer(&issued) == "eyJ0" && is_in_an_hour(&issued));
    let workload = json!({"kind":"azure-workload-identity","client_id":"app","authority":issuer.url()});
    assert_eq!(bearer(&given(workload.clone(), &context).await.expect("a token")), "eyJ0");
    let words = given(workload, &context).await.expect_err("refused");
    assert!(words.contains("HTTP 400 invalid_client"), "{words}");
    let asked = issuer.asked().await;
    assert!(asked[0].contains("client_id=c%2F1") && asked[0].contains("metadata: true"), "{}", asked[0]);
    assert!(asked[1].starts_with("POST /ten/oauth2/v2.0/token "), "{}", asked[1]);
    assert!(asked[1].contains("client_assertion=fed-t0ken"), "{}", asked[1]);

    let cli = home.path().join("az");
    let run = format!("sh {}", cli.display());
    write(&cli, r#"echo '{"accessToken":"cli-t0ken","expiresOn":"2999-01-01 00:00:00.000000"}'"#);
    let issued = given(json!({"kind":"azure-cli","command":run}), &context).await.expect("a token");
    assert!(bearer(&issued) == "cli-t0ken" && issued.until.is_some());
    for (text, word) in
        [("echo 7", "not JSON"), ("echo 'Please run az login' >&2; exit 1", "ended with 1: Please")]
    {
        write(&cli, text);
        let words = given(json!({"kind":"azure-cli","command":run}), &context).await.expect_err(text);
        assert!(words.contains(word) && words.ends_with("run `az login`"), "{words}");
    }
}
