//! The stores' error codes: S3's, Azure's and Google's, as far as something follows from them.

/// What an answer is made to say of a SAS that is over, or has not begun: Azure has one code for all of them.
pub(super) const EXPIRED_SAS: &str = "AuthenticationFailed (expired)";

/// Codes that deny whatever is asked, with what to do about them.
pub(super) fn denial(code: &str) -> Option<&'static str> {
    Some(match code {
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" | "RequestExpired" => {
            "renew the keys; a changed credentials file is read by itself"
        }
        "InvalidToken"
        | "InvalidAccessKeyId"
        | "InvalidSecurity"
        | "NotSignedUp"
        | "AccountProblem"
        | "AllAccessDisabled"
        | "MissingSecurityHeader" => "replace the keys; a changed credentials file is read by itself",
        "SignatureDoesNotMatch" => "correct the secret key; a changed credentials file is read by itself",
        "RequestTimeTooSkewed" => "set this machine's clock",
        EXPIRED_SAS => {
            "renew the SAS, or set this machine's clock; a changed credentials file is read by itself"
        }
        "AuthenticationFailed" | "AuthorizationFailure" | "InvalidAuthenticationInfo" => {
            "correct the account key or the SAS, renew it if it is over, and see to the account's network rules; a \
             changed credentials file is read by itself"
        }
        "NoAuthenticationInformation" | "PublicAccessNotPermitted" => "give keys",
        "AuthenticationRequired" => "give keys, or others; a changed credentials file is read by itself",
        "AuthorizationSourceIPMismatch"
        | "AuthorizationProtocolMismatch"
        | "AuthorizationServiceMismatch" => "make a SAS that is for blobs, this address and this protocol",
        "AccountIsDisabled" => "see to the storage account",
        "UserProjectMissing" | "UserProjectInvalid" | "UserProjectAccessDenied" => {
            "let the bucket's owner pay: a bucket whose readers pay is not supported"
        }
        code if code.starts_with("KMS.") => "see to the bucket's encryption key",
        _ => return None,
    })
}

/// Codes of one right that is missing, where others may be there.
pub(super) fn is_a_right(code: &str) -> bool {
    matches!(
        code,
        "AccessDenied"
            | "AuthorizationPermissionMismatch"
            | "AuthorizationResourceTypeMismatch"
            | "InsufficientAccountPermissions"
    )
}

/// Codes that are about the bucket, whatever was asked for.
pub(super) fn is_about_bucket(code: &str) -> bool {
    let s3 = matches!(code, "NoSuchBucket" | "InvalidBucketName" | "NoSuchUpload");
    // Azure's last is what strangers are told of a container that is not theirs.
    s3 || matches!(
        code,
        "ContainerNotFound" | "ContainerBeingDeleted" | "ContainerDisabled" | "ResourceNotFound"
    )
}

/// Codes with status 400 that are about the way, not about the object.
pub(super) fn is_passing(code: &str) -> bool {
    let way = ["RequestTimeout", "BadDigest", "InvalidDigest", "IncompleteBody", "XAmzContentSHA256Mismatch"];
    let bucket = ["InvalidRequest", "InvalidBucketName", "NoSuchBucket", "NoSuchUpload", "InvalidPart"];
    // Of Azure's, the last is of parts that another writer's commit has thrown away.
    let azure = [
        "Md5Mismatch",
        "InvalidMd5",
        "Crc64Mismatch",
        "InvalidHeaderValue",
        "MissingRequiredHeader",
        "UnsupportedHeader",
        "InvalidQueryParameterValue",
        "UnsupportedQueryParameter",
        "InvalidBlockList",
    ];
    code.is_empty()
        || way.contains(&code)
        || bucket.contains(&code)
        || azure.contains(&code)
        || code.starts_with("Authorization")
}
