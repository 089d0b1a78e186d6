//! An upstream's URL that is wrong in one part, for every part of every kind, and the exact words said of it.

use super::super::{Environment, Flags};
use super::load_with;

const NO_HOST: &str = "an HTTP upstream is https://host[:port][/prefix], with a name or an address: https://cache.example.com:9090";
const NO_KEYS: &str = "an upstream URL can't hold a user or a password: put the token, or the header `Authorization: Basic …`, into a \
                       file that only you can read, and say credentials=FILE; or set LARDER_UPSTREAM_TOKEN";
const HTTP_PREFIX: &str = "the path of an HTTP upstream has an empty or a dot segment, a control character, or is over 100 bytes: name it \
                           by plain words, as in https://host/teams/web";

/// A URL, and what is said of it.
const CORPUS: &[(&str, &str)] = &[
    (
        "bucket",
        "`bucket` is not a URL, nor one of `[upstreams.NAME]`; none, file:///path, s3://bucket/prefix, azure://container/prefix, gs://bucket/prefix and https://host/prefix are known",
    ),
    (
        "s3:",
        "`s3:` is not a URL, nor one of `[upstreams.NAME]`; none, file:///path, s3://bucket/prefix, azure://container/prefix, gs://bucket/prefix and https://host/prefix are known",
    ),
    (
        "s3:/bucket",
        "`s3:/bucket` is not a URL, nor one of `[upstreams.NAME]`; none, file:///path, s3://bucket/prefix, azure://container/prefix, gs://bucket/prefix and https://host/prefix are known",
    ),
    ("://bucket", "has the scheme ``; none, file, s3, azure, gs, http(s) and grpc(s) are known"),
    (
        "hush",
        "`hush` is not a URL, nor one of `[upstreams.NAME]`; none, file:///path, s3://bucket/prefix, azure://container/prefix, gs://bucket/prefix and https://host/prefix are known",
    ),
    (
        "https://bucket.s3.amazonaws.com/x",
        "`bucket.s3.amazonaws.com` is a cloud's object store: write it as s3://bucket/prefix, azure://container/prefix?account=… or gs://bucket/prefix",
    ),
    ("https://", NO_HOST),
    ("https:///team", NO_HOST),
    ("https://a b", NO_HOST),
    ("https://host:0", NO_HOST),
    ("https://user:hush@host/team", NO_KEYS),
    ("https://hush@host/team", NO_KEYS),
    ("https://host/team?credentials=", "names no credentials file; write it as credentials=/path"),
    (
        "https://host/team?token=hush",
        "`token` is a key, and an upstream URL can't hold keys: give it in the environment or in a file",
    ),
    (
        "https://host/team?region=eu",
        "`region` is no option of a URL that begins with https://; take one of dialect, layout, ca, certificate, key, allow_http, credential, credentials, read_only",
    ),
    (
        "https://host?dialect=nix",
        "the dialect of an HTTP upstream is larder, bazel, turborepo, nx, gradle, ccache, maven or plain: dialect=bazel",
    ),
    ("https://host?certificate=/c", "a client certificate is two files: certificate=/path and key=/path"),
    ("https://host?ca=", "`ca` of an upstream names a file: ca=/path"),
    (
        "http://127.0.0.1?ca=/c",
        "plain HTTP has no certificates: take https, or leave out ca, certificate and key",
    ),
    ("https://host/a//b", HTTP_PREFIX),
    ("https://host/../b", HTTP_PREFIX),
    ("https://host/a#b", "an upstream URL has no fragment: write a `#` of a name as %23"),
    (
        "http://cache.example.com/team",
        "the upstream is plain HTTP: names, bytes and tokens can be read and changed on the way; use https, or say allow_http=true",
    ),
    (
        "S3://bucket",
        "has the scheme `S3`; none, file, s3, azure, gs, http(s) and grpc(s) are known; S3's is s3://bucket/prefix",
    ),
    (
        "s3a://bucket",
        "has the scheme `s3a`; none, file, s3, azure, gs, http(s) and grpc(s) are known; S3's is s3://bucket/prefix",
    ),
    (
        "abfss://team@acme.dfs.core.windows.net",
        "has the scheme `abfss`; none, file, s3, azure, gs, http(s) and grpc(s) are known; Azure's is azure://container/prefix?account=…",
    ),
    ("ftp://host/x", "has the scheme `ftp`; none, file, s3, azure, gs, http(s) and grpc(s) are known"),
    ("file://", "a folder upstream is file:// and an absolute path: file:///mnt/team"),
    ("file:///", "a folder upstream is file:// and an absolute path: file:///mnt/team"),
    ("file://mnt/team", "a folder upstream is file:// and an absolute path: file:///mnt/team"),
    ("file://host/mnt/team", "a folder upstream is file:// and an absolute path: file:///mnt/team"),
    (
        "file:///mnt/../etc",
        "a folder upstream has a `..` or a zero byte in its path: say where it is, as in file:///mnt/team",
    ),
    (
        "file:///mnt/%2e%2e/etc",
        "a folder upstream has a `..` or a zero byte in its path: say where it is, as in file:///mnt/team",
    ),
    (
        "file:///mnt/a%00b",
        "a folder upstream has a `..` or a zero byte in its path: say where it is, as in file:///mnt/team",
    ),
    ("file:///mnt/%ff", "an upstream URL is not UTF-8: write é as %C3%A9"),
    (
        "file:///mnt/a?b",
        "a folder upstream takes no option but read_only: file:///mnt/team; write a `?` of its name as %3F",
    ),
    (
        "file:///mnt?credentials=/k",
        "a folder upstream takes no option but read_only: file:///mnt/team; write a `?` of its name as %3F",
    ),
    ("file:///mnt?read_only=maybe", "option `read_only` is neither true nor false; write one of them"),
    (
        "s3://",
        "an s3 upstream begins with the name of its bucket, letters, digits, dashes, dots and underscores: s3://bucket, and another host than Amazon's as endpoint=https://host",
    ),
    (
        "s3:///prefix",
        "an s3 upstream begins with the name of its bucket, letters, digits, dashes, dots and underscores: s3://bucket, and another host than Amazon's as endpoint=https://host",
    ),
    (
        "s3://a b",
        "an s3 upstream begins with the name of its bucket, letters, digits, dashes, dots and underscores: s3://bucket, and another host than Amazon's as endpoint=https://host",
    ),
    (
        "s3://..",
        "an s3 upstream begins with the name of its bucket, letters, digits, dashes, dots and underscores: s3://bucket, and another host than Amazon's as endpoint=https://host",
    ),
    (
        "s3://bücket",
        "an s3 upstream begins with the name of its bucket, letters, digits, dashes, dots and underscores: s3://bucket, and another host than Amazon's as endpoint=https://host",
    ),
    (
        "s3://%62ucket",
        "an s3 upstream begins with the name of its bucket, letters, digits, dashes, dots and underscores: s3://bucket, and another host than Amazon's as endpoint=https://host",
    ),
    (
        "s3://127.0.0.1:9000/bucket",
        "an s3 upstream begins with the name of its bucket, letters, digits, dashes, dots and underscores: s3://bucket, and another host than Amazon's as endpoint=https://host",
    ),
    ("s3://id:hush@bucket", "an upstream URL can't hold keys: give them in the environment or in a file"),
    (
        "s3://id%3Ahush%40bucket",
        "an s3 upstream begins with the name of its bucket, letters, digits, dashes, dots and underscores: s3://bucket, and another host than Amazon's as endpoint=https://host",
    ),
    (
        "s3://bucket/a//b",
        "the prefix of an upstream has an empty or a dot segment, a control character, or is over 100 bytes: name it by plain words, as in s3://bucket/teams/web",
    ),
    (
        "s3://bucket/../b",
        "the prefix of an upstream has an empty or a dot segment, a control character, or is over 100 bytes: name it by plain words, as in s3://bucket/teams/web",
    ),
    (
        "s3://bucket/%2e%2e/b",
        "the prefix of an upstream has an empty or a dot segment, a control character, or is over 100 bytes: name it by plain words, as in s3://bucket/teams/web",
    ),
    (
        "s3://bucket/a%2F..%2Fb",
        "the prefix of an upstream has an empty or a dot segment, a control character, or is over 100 bytes: name it by plain words, as in s3://bucket/teams/web",
    ),
    (
        "s3://bucket/a%00b",
        "the prefix of an upstream has an empty or a dot segment, a control character, or is over 100 bytes: name it by plain words, as in s3://bucket/teams/web",
    ),
    ("s3://bucket/%ff", "an upstream URL is not UTF-8: write é as %C3%A9"),
    (
        "s3://bucket/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "the prefix of an upstream has an empty or a dot segment, a control character, or is over 100 bytes: name it by plain words, as in s3://bucket/teams/web",
    ),
    ("s3://bucket/a#b", "an upstream URL has no fragment: write a `#` of a name as %23"),
    ("s3://bucket?region", "the region of an s3 upstream is letters, digits and dashes: region=eu-central-1"),
    (
        "s3://bucket?region=",
        "the region of an s3 upstream is letters, digits and dashes: region=eu-central-1",
    ),
    (
        "s3://bucket?region=eu west",
        "the region of an s3 upstream is letters, digits and dashes: region=eu-central-1",
    ),
    ("s3://bucket?region=a&region=b", "has the option `region` twice; leave one out"),
    (
        "s3://bucket?regoin=eu",
        "`regoin` is no option of a URL that begins with s3://; take one of endpoint, region, path_style, allow_http, credential, credentials, profile, instance_metadata, read_only",
    ),
    (
        "s3://bucket?account=acme",
        "`account` is no option of a URL that begins with s3://; take one of endpoint, region, path_style, allow_http, credential, credentials, profile, instance_metadata, read_only",
    ),
    (
        "s3://bucket?secret_access_key=hush",
        "`secret_access_key` is a key, and an upstream URL can't hold keys: give it in the environment or in a file",
    ),
    (
        "s3://bucket?aws_session_token=hush",
        "`aws_session_token` is a key, and an upstream URL can't hold keys: give it in the environment or in a file",
    ),
    (
        "s3://bucket?X-Amz-Security-Token=hush",
        "`X-Amz-Security-Token` is a key, and an upstream URL can't hold keys: give it in the environment or in a file",
    ),
    ("s3://bucket?path_style=maybe", "`path_style` of an upstream is true or false"),
    ("s3://bucket?allow_http=", "`allow_http` of an upstream is true or false"),
    ("s3://bucket?read_only=2", "option `read_only` is neither true nor false; write one of them"),
    (
        "s3://bucket?instance_metadata=no",
        "option `instance_metadata` is neither true nor false; write one of them",
    ),
    ("s3://bucket?credentials", "names no credentials file; write it as credentials=/path"),
    ("s3://bucket?credentials=", "names no credentials file; write it as credentials=/path"),
    (
        "s3://bucket?credentials=/k&instance_metadata",
        "names both a credentials file and instance_metadata; leave one out",
    ),
    (
        "s3://bucket?endpoint",
        "the endpoint of an upstream is https://host[:port], with nothing but a path behind it, and no keys: endpoint=https://cache.example.com:9000",
    ),
    (
        "s3://bucket?endpoint=",
        "the endpoint of an upstream is https://host[:port], with nothing but a path behind it, and no keys: endpoint=https://cache.example.com:9000",
    ),
    (
        "s3://bucket?endpoint=host:9000",
        "the endpoint of an upstream is https://host[:port], with nothing but a path behind it, and no keys: endpoint=https://cache.example.com:9000",
    ),
    (
        "s3://bucket?endpoint=https://",
        "the endpoint of an upstream is https://host[:port], with nothing but a path behind it, and no keys: endpoint=https://cache.example.com:9000",
    ),
    (
        "s3://bucket?endpoint=https://:9000",
        "the endpoint of an upstream is https://host[:port], with nothing but a path behind it, and no keys: endpoint=https://cache.example.com:9000",
    ),
    (
        "s3://bucket?endpoint=https://host:0",
        "the endpoint of an upstream is https://host[:port], with nothing but a path behind it, and no keys: endpoint=https://cache.example.com:9000",
    ),
    (
        "s3://bucket?endpoint=https://host:99999",
        "the endpoint of an upstream is https://host[:port], with nothing but a path behind it, and no keys: endpoint=https://cache.example.com:9000",
    ),
    (
        "s3://bucket?endpoint=https://host:port",
        "the endpoint of an upstream is https://host[:port], with nothing but a path behind it, and no keys: endpoint=https://cache.example.com:9000",
    ),
    (
        "s3://bucket?endpoint=https://ho st",
        "the endpoint of an upstream is https://host[:port], with nothing but a path behind it, and no keys: endpoint=https://cache.example.com:9000",
    ),
    (
        "s3://bucket?endpoint=https://[::1",
        "the endpoint of an upstream is https://host[:port], with nothing but a path behind it, and no keys: endpoint=https://cache.example.com:9000",
    ),
    (
        "s3://bucket?endpoint=https://host/../x",
        "the endpoint of an upstream is https://host[:port], with nothing but a path behind it, and no keys: endpoint=https://cache.example.com:9000",
    ),
    (
        "s3://bucket?endpoint=https://id:hush@host",
        "an upstream URL can't hold keys: give them in the environment or in a file",
    ),
    (
        "s3://bucket?endpoint=https://id%3Ahush%40host",
        "the endpoint of an upstream is https://host[:port], with nothing but a path behind it, and no keys: endpoint=https://cache.example.com:9000",
    ),
    (
        "s3://bucket?endpoint=https://host%3Fsig%3Dhush",
        "the endpoint of an upstream is https://host[:port], with nothing but a path behind it, and no keys: endpoint=https://cache.example.com:9000",
    ),
    (
        "s3://bucket?endpoint=ftp://host",
        "the endpoint of an upstream is https://host[:port], with nothing but a path behind it, and no keys: endpoint=https://cache.example.com:9000",
    ),
    (
        "s3://bucket?endpoint=http://host",
        "the endpoint of an upstream is plain HTTP: names and bytes can be read and changed on the way; use https, or say allow_http=true",
    ),
    (
        "s3://bucket?endpoint=http://127.0.0.1.example.com",
        "the endpoint of an upstream is plain HTTP: names and bytes can be read and changed on the way; use https, or say allow_http=true",
    ),
    ("s3://bucket?endpoint=%ff", "option `endpoint` is not UTF-8; write é as %C3%A9"),
    (
        "azure://",
        "an azure upstream begins with the name of its container, 3 to 63 lower-case letters, digits and single dashes: azure://container",
    ),
    (
        "azure://ab?account=acme",
        "an azure upstream begins with the name of its container, 3 to 63 lower-case letters, digits and single dashes: azure://container",
    ),
    (
        "azure://Team?account=acme",
        "an azure upstream begins with the name of its container, 3 to 63 lower-case letters, digits and single dashes: azure://container",
    ),
    (
        "azure://a--b?account=acme",
        "an azure upstream begins with the name of its container, 3 to 63 lower-case letters, digits and single dashes: azure://container",
    ),
    ("azure://team", "an azure upstream names its storage account: account=…, or AZURE_STORAGE_ACCOUNT"),
    ("azure://team?account", "the account of an azure upstream is 3 to 24 lower-case letters and digits"),
    ("azure://team?account=", "the account of an azure upstream is 3 to 24 lower-case letters and digits"),
    (
        "azure://team?account=Acme",
        "the account of an azure upstream is 3 to 24 lower-case letters and digits",
    ),
    (
        "azure://team?account=acme.blob",
        "the account of an azure upstream is 3 to 24 lower-case letters and digits",
    ),
    (
        "azure://team@acme.blob.core.windows.net",
        "an azure upstream URL can't hold keys, and has nothing before an `@`: give keys in the environment or in a file, and the account as in azure://container/prefix?account=acme",
    ),
    (
        "azure://team?account=acme&sv=2020&sig=hush",
        "`sv` is a key, and an upstream URL can't hold keys: give it in the environment or in a file",
    ),
    (
        "azure://team?account=acme&account_key=hush",
        "`account_key` is a key, and an upstream URL can't hold keys: give it in the environment or in a file",
    ),
    (
        "azure://team?account=acme&region=eu",
        "`region` is no option of a URL that begins with azure://; take one of account, endpoint, allow_http, credential, credentials, instance_metadata, read_only",
    ),
    (
        "azure://team?account=acme&profile=ci",
        "`profile` is no option of a URL that begins with azure://; take one of account, endpoint, allow_http, credential, credentials, instance_metadata, read_only",
    ),
    (
        "azure://team/a/./b?account=acme",
        "the prefix of an upstream has an empty or a dot segment, a control character, or is over 100 bytes: name it by plain words, as in s3://bucket/teams/web",
    ),
    (
        "azure://team/%2E%2E/b?account=acme",
        "the prefix of an upstream has an empty or a dot segment, a control character, or is over 100 bytes: name it by plain words, as in s3://bucket/teams/web",
    ),
    (
        "azure://team?account=acme&endpoint=acme",
        "the endpoint of an upstream is https://host[:port], with nothing but a path behind it, and no keys: endpoint=https://cache.example.com:9000",
    ),
    (
        "azure://team?account=acme&endpoint=http://host/acme",
        "the endpoint of an upstream is plain HTTP: names and bytes can be read and changed on the way; use https, or say allow_http=true",
    ),
    (
        "gs://",
        "a gs upstream begins with the name of its bucket, 3 to 222 lower-case letters, digits, dashes, dots and underscores: gs://bucket",
    ),
    (
        "gs://ab",
        "a gs upstream begins with the name of its bucket, 3 to 222 lower-case letters, digits, dashes, dots and underscores: gs://bucket",
    ),
    (
        "gs://Team",
        "a gs upstream begins with the name of its bucket, 3 to 222 lower-case letters, digits, dashes, dots and underscores: gs://bucket",
    ),
    (
        "gs://team.",
        "a gs upstream begins with the name of its bucket, 3 to 222 lower-case letters, digits, dashes, dots and underscores: gs://bucket",
    ),
    (
        "gs://te..am",
        "a gs upstream begins with the name of its bucket, 3 to 222 lower-case letters, digits, dashes, dots and underscores: gs://bucket",
    ),
    ("gs://id:hush@team", "an upstream URL can't hold keys: give them in the environment or in a file"),
    (
        "gs://team/a//x",
        "the prefix of an upstream has an empty or a dot segment, a control character, or is over 100 bytes: name it by plain words, as in s3://bucket/teams/web",
    ),
    (
        "gs://team/%2e%2e",
        "the prefix of an upstream has an empty or a dot segment, a control character, or is over 100 bytes: name it by plain words, as in s3://bucket/teams/web",
    ),
    (
        "gs://team?region=eu",
        "`region` is no option of a URL that begins with gs://; take one of endpoint, allow_http, credential, credentials, instance_metadata, read_only",
    ),
    (
        "gs://team?project=p",
        "`project` is no option of a URL that begins with gs://; take one of endpoint, allow_http, credential, credentials, instance_metadata, read_only",
    ),
    (
        "gs://team?token=hush",
        "`token` is a key, and an upstream URL can't hold keys: give it in the environment or in a file",
    ),
    (
        "gs://team?endpoint=http://host",
        "the endpoint of an upstream is plain HTTP: names and bytes can be read and changed on the way; use https, or say allow_http=true",
    ),
];

#[test]
fn a_url_that_is_wrong_in_any_part_is_told_with_its_remedy() {
    let mut wrong = Vec::new();
    for (url, words) in CORPUS {
        let flags = Flags { upstream: Some((*url).into()), ..Flags::default() };
        let problems = load_with("", flags, &Environment::default()).err().unwrap_or_default();
        if problems != [format!("--upstream: `upstream`: {words}")] {
            wrong.push(format!("{url}\n  said:   {problems:#?}\n  wanted: {words}"));
        }
        assert!(!problems.concat().contains("hush") || *url == "hush", "{url}: a secret in {problems:?}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
