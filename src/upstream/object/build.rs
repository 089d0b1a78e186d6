//! The three kinds of bucket as stores of `object_store`, made ready without a network.

use std::sync::Arc;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::list::PaginatedListStore;
use object_store::multipart::MultipartStore;
use object_store::{ClientOptions, ObjectStore};

use super::super::credentials::{Credentials, Watched};
use super::super::location::{Bucket, Kind};
use super::blob::Blobs;
use super::service::Service;
use super::{WRITE_RETRIES, invalid, keys, retries};
use crate::error::Result;

/// What is asked of every kind.
pub(super) trait Store: ObjectStore + MultipartStore + PaginatedListStore {}

impl<T: ObjectStore + MultipartStore + PaginatedListStore> Store for T {}

/// One bucket.
pub(super) struct Built {
    /// Never repeats a request.
    pub(super) reads: Arc<dyn Store>,
    pub(super) writes: Arc<dyn Store>,
    /// Deletes, where `object_store` doesn't do it well.
    pub(super) blobs: Option<Blobs>,
    /// The file that its keys come from, if they do.
    pub(super) key_file: Option<Arc<dyn Watched>>,
}

/// Makes the store of `bucket`, which talks through `service`.
pub(super) fn build(
    bucket: &Bucket,
    credentials: &Credentials,
    options: ClientOptions,
    service: &Service,
) -> Result<Built> {
    match &bucket.kind {
        Kind::S3 { region, path_style } => {
            let (builder, key_file) = keys::sign_s3(s3(bucket, region, *path_style), credentials)?;
            let builder = builder.with_client_options(options).with_http_connector(service.clone());
            let build = |max| builder.clone().with_retry(retries(max)).build().map_err(invalid);
            Ok(Built {
                reads: Arc::new(build(0)?),
                writes: Arc::new(build(WRITE_RETRIES)?),
                blobs: None,
                key_file,
            })
        }
        Kind::Azure { account } => {
            let (builder, key_file) = keys::sign_azure(azure(bucket, account), account, credentials)?;
            let builder = builder.with_client_options(options).with_http_connector(service.clone());
            let build = |max| builder.clone().with_retry(retries(max)).build().map_err(invalid);
            let writes = build(WRITE_RETRIES)?;
            let own = || format!("https://{account}.blob.core.windows.net");
            let blobs = Blobs {
                url: format!("{}/{}", bucket.endpoint.clone().unwrap_or_else(own), bucket.name),
                account: account.clone(),
                credentials: Arc::clone(writes.credentials()),
                service: service.clone(),
            };
            Ok(Built { reads: Arc::new(build(0)?), writes: Arc::new(writes), blobs: Some(blobs), key_file })
        }
        Kind::Google => {
            let (builder, key_file) = keys::sign_google(google(bucket), credentials)?;
            let builder = builder.with_client_options(options).with_http_connector(service.clone());
            let build = |max| builder.clone().with_retry(retries(max)).build().map_err(invalid);
            Ok(Built {
                reads: Arc::new(build(0)?),
                writes: Arc::new(build(WRITE_RETRIES)?),
                blobs: None,
                key_file,
            })
        }
    }
}

fn s3(bucket: &Bucket, region: &str, path_style: bool) -> AmazonS3Builder {
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&bucket.name)
        .with_region(region)
        .with_virtual_hosted_style_request(!path_style)
        .with_allow_http(bucket.allow_http)
        // Of keys from the instance metadata; requests to the store have retries of their own.
        .with_retry(retries(1))
        // One object at a time is deleted, and not every store knows DeleteObjects.
        .with_disable_bulk_delete(true);
    if let Some(endpoint) = &bucket.endpoint {
        // `object_store` takes a virtual-hosted endpoint with the bucket's name already in it.
        let endpoint = match endpoint.split_once("://") {
            Some((scheme, host)) if !path_style => format!("{scheme}://{}.{host}", bucket.name),
            _ => endpoint.clone(),
        };
        builder = builder.with_endpoint(endpoint);
    }
    builder
}

fn azure(bucket: &Bucket, account: &str) -> MicrosoftAzureBuilder {
    let builder = MicrosoftAzureBuilder::new().with_account(account).with_container_name(&bucket.name);
    match &bucket.endpoint {
        Some(endpoint) => builder.with_endpoint(endpoint.clone()),
        None => builder,
    }
}

fn google(bucket: &Bucket) -> GoogleCloudStorageBuilder {
    let builder = GoogleCloudStorageBuilder::new().with_bucket_name(&bucket.name);
    match &bucket.endpoint {
        Some(endpoint) => builder.with_base_url(endpoint),
        None => builder,
    }
}
