//! What URLs name, and what is wrong with those that name nothing.

use super::*;

fn bucket(url: &str) -> Bucket {
    match Location::parse(url).unwrap().0 {
        Place::Bucket(bucket) => bucket,
        Place::Folder(_) | Place::Server(_) | Place::Reapi(_) => panic!("{url} is a bucket"),
    }
}

#[test]
fn canonical_urls_parse_to_themselves() {
    for (given, canonical) in [
        ("file:///mnt//team/./x/", "file:///mnt/team/x"),
        ("file:///a%20b", "file:///a%20b"),
        ("s3://b", "s3://b?region=us-east-1"),
        ("s3://b/", "s3://b?region=us-east-1"),
        ("s3://b/p/q/?region=eu", "s3://b/p/q?region=eu"),
        (
            "s3://b/p?endpoint=http://127.0.0.1:9/",
            "s3://b/p?region=us-east-1&endpoint=http://127.0.0.1:9&allow_http=true",
        ),
        (
            "s3://b?endpoint=https%3A%2F%2Fh&path_style=false",
            "s3://b?region=us-east-1&endpoint=https://h&path_style=false",
        ),
        ("s3://b?path_style", "s3://b?region=us-east-1&path_style=true"),
        ("azure://team/p/?account=acme", "azure://team/p?account=acme"),
        ("az://team?account=acme&endpoint=https://acme.blob.core.windows.net/", "azure://team?account=acme"),
        (
            "azure://team?account=acme&endpoint=http://127.0.0.1:9/acme",
            "azure://team?account=acme&endpoint=http://127.0.0.1:9/acme&allow_http=true",
        ),
        ("gs://team", "gs://team"),
        ("gcs://team.example_1/a%20b?endpoint=https://h", "gs://team.example_1/a%20b?endpoint=https://h"),
        ("gs://team?endpoint=https://storage.googleapis.com", "gs://team"),
        ("https://Cache.Example.com:443/team/a%20b/?dialect=larder", "https://cache.example.com/team/a%20b"),
        ("http://[::1]:9?dialect=bazel", "http://[::1]:9?dialect=bazel&allow_http=true"),
        ("http://h:80?allow_http", "http://h?allow_http=true"),
        ("https://h?layout=flat&dialect=ccache", "https://h?dialect=ccache&layout=flat"),
        ("https://h?dialect=ccache&layout=subdirs", "https://h?dialect=ccache"),
        ("https://h/cache?dialect=nx", "https://h/cache?dialect=nx"),
        (
            "https://h?ca=/c%20a&certificate=/c&key=/k&dialect=turborepo",
            "https://h?dialect=turborepo&ca=/c%20a&certificate=/c&key=/k",
        ),
    ] {
        let location = Location::parse(given).unwrap();
        assert_eq!(location.url(), canonical);
        assert_eq!(Location::parse(canonical).unwrap(), location);
    }
}

#[test]
fn what_is_wrong_is_named() {
    for (url, word) in [
        ("/mnt/x", "URL"),
        ("ftp://b", "kind"),
        ("file://mnt", "absolute"),
        ("file:///", "absolute"),
        ("file:///x?y", "no option"),
        ("s3://", "bucket"),
        ("s3://a b", "bucket"),
        ("s3://key:secret@b", "keys"),
        ("s3://b/a//c", "segment"),
        ("s3://b/../c", "segment"),
        ("s3://b?secret=x", "is a key"),
        ("s3://b?colour=x", "is no option"),
        ("s3://b?region=", "eu-central-1"),
        ("s3://b?endpoint=host", "https"),
        ("s3://b?endpoint=http://host", "allow_http"),
        ("s3://b?endpoint=http://127.0.0.1.example.org", "allow_http"),
        ("s3://b?path_style=maybe", "true or false"),
        ("s3://b/%ff", "UTF-8"),
        ("s3://b?account=x", "is no option"),
        ("azure://", "container"),
        ("azure://ab?account=acme", "3 to 63"),
        ("azure://Team?account=acme", "container"),
        ("azure://a--b?account=acme", "container"),
        ("azure://-team?account=acme", "container"),
        ("azure://team@acme.blob.core.windows.net", "keys"),
        ("azure://team", "account=…"),
        ("azure://team?account=", "3 to 24"),
        ("azure://team?account=Acme", "lower-case"),
        ("azure://team?account=acme&sig=abc", "can't hold keys"),
        ("azure://team?account=acme&sv=2020", "can't hold keys"),
        ("azure://team?account=acme&region=eu", "account, endpoint, allow_http"),
        ("azure://team/a/./b?account=acme", "segment"),
        ("azure://team?account=acme&endpoint=acme", "https"),
        ("azure://team?account=acme&endpoint=http://host", "allow_http"),
        ("azure://team?account=acme&allow_http=maybe", "true or false"),
        ("gs://", "bucket"),
        ("gs://ab", "3 to 222"),
        ("gs://Team", "bucket"),
        ("gs://team.", "bucket"),
        ("gs://id:secret@team", "keys"),
        ("gs://team/a//x", "segment"),
        ("gs://team?region=eu", "endpoint, allow_http"),
        ("gs://team?endpoint=ftp://x", "https"),
        ("gs://team?endpoint=http://host", "allow_http"),
        ("gs://team/%ff", "UTF-8"),
        ("http://cache.example.com", "allow_http"),
        ("https://user:secret@h", "user or a password"),
        ("https://team.blob.core.windows.net/x", "azure://"),
        ("https://h?dialect=ftp", "larder, bazel"),
        ("https://h?dialect=ccache&layout=deep", "subdirs, flat or bazel"),
        ("https://h?layout=flat", "say dialect=ccache"),
        ("https://h?key=/k", "two files"),
        ("https://h/a/../b", "segment"),
    ] {
        let error = Location::parse(url).expect_err(url).to_string();
        assert!(error.contains(word), "{url}: {error}");
    }
}

#[test]
fn plain_http_is_for_this_machine_or_by_wish() {
    for endpoint in ["http://localhost:1", "http://127.0.0.9", "http://[::1]:1"] {
        assert!(bucket(&format!("s3://b?endpoint={endpoint}")).allow_http, "{endpoint}");
    }
    assert!(bucket("s3://b?endpoint=http://h&allow_http=true").allow_http);
    assert!(!bucket("s3://b?endpoint=https://h").allow_http);
}

#[test]
fn a_region_does_not_make_it_another_store() {
    let identity = |url| Location::parse(url).unwrap().identity();
    assert_eq!(identity("s3://b/p?region=a"), identity("s3://b/p?region=b"));
    assert_ne!(identity("s3://b/p"), identity("s3://b/q"));
    assert_ne!(identity("s3://b/p"), identity("s3://b/p?endpoint=https://h"));
    let below = |url, prefix| Location::parse(url).unwrap().identity_below(prefix);
    for (url, prefix, same) in [
        ("s3://b", "p", "s3://b/p"),
        ("s3://b/p", "q r", "s3://b/p/q%20r"),
        ("file:///a", "b c", "file:///a/b%20c"),
    ] {
        assert_eq!(below(url, prefix), below(same, ""), "{same}");
    }
    assert_ne!(identity("azure://team?account=one"), identity("azure://team?account=two"));
    assert_ne!(identity("gs://team"), identity("s3://team"));
    assert_eq!(below("https://h/a", "b"), below("https://h/a/b", ""));
    assert_eq!(identity("https://h?ca=/a"), identity("https://h"));
    assert_ne!(identity("https://h?dialect=plain"), identity("https://h"));
    assert_ne!(identity("https://h?dialect=ccache"), identity("https://h?dialect=ccache&layout=flat"));
}

#[test]
fn each_kind_has_its_form_of_names() {
    let names = |url| Location::parse(url).unwrap().names();
    for url in ["file:///a", "s3://b", "azure://team?account=acme"] {
        assert_eq!(names(url), Names::Sharded, "{url}");
    }
    assert_eq!((names("gs://team"), names("https://h?dialect=plain")), (Names::Flat, Names::Flat));
    assert_eq!((names("https://h"), names("https://h?dialect=bazel")), (Names::Paths, Names::Paths));
}
