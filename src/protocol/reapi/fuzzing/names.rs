//! Resource names.

use tonic::Status;

use super::{FUNCTIONS, is_calm};
use crate::protocol::reapi::requests::Compressor;
use crate::protocol::reapi::resource::Resource;

/// A name that is taken says what it says in its plain form too, and its instance has no reserved word.
///
/// # Panics
/// If that is not so.
pub fn resource_name(bytes: &[u8]) {
    let Ok(name) = std::str::from_utf8(bytes) else { return };
    match Resource::to_read(name) {
        Ok(resource) => {
            check(name, &resource, &["blobs", "compressed-blobs"]);
            let plain = plain(&resource, "");
            assert_eq!(Resource::to_read(&plain).expect("the plain form"), resource, "{plain}");
        }
        Err(status) => is_calm(&status),
    }
    match Resource::to_write(name) {
        Ok(resource) => {
            check(name, &resource, &["uploads"]);
            let plain = plain(&resource, "uploads/6d0e-x/");
            assert_eq!(Resource::to_write(&plain).expect("the plain form"), resource, "{plain}");
        }
        Err(status) => is_calm(&status),
    }
}

fn check(name: &str, resource: &Resource<'_>, reserved: &[&str]) {
    assert!(name.trim_start_matches('/').starts_with(resource.instance));
    assert!(!resource.instance.split('/').any(|segment| reserved.contains(&segment)));
    assert!(!resource.instance.starts_with('/') && !resource.instance.ends_with('/'));
    for default in FUNCTIONS {
        let blob = resource.blob(default);
        blob.as_ref().map_or_else(|status: &Status| is_calm(status), |_| {});
        let Ok(blob) = blob else { continue };
        assert_eq!(blob.digest.function(), resource.function.unwrap_or(default));
        assert_eq!((blob.digest.hex().as_str(), blob.size), (resource.hash, resource.size as u64));
        assert_eq!(blob.digest.is_empty_blob(), blob.size == 0);
    }
}

fn plain(resource: &Resource<'_>, upload: &str) -> String {
    let instance = if resource.instance.is_empty() { "" } else { "/" };
    let compressor = match resource.compressor {
        Compressor::Identity => "blobs",
        Compressor::Zstd => "compressed-blobs/zstd",
    };
    let function = resource.function.map_or(String::new(), |function| format!("{}/", function.name()));
    let (hash, size) = (resource.hash, resource.size);
    format!("{}{instance}{upload}{compressor}/{function}{hash}/{size}", resource.instance)
}
