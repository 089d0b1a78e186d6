//! How long a server asks us to wait, where it says: `google.rpc.RetryInfo` among the details of its status, else a
//! header `retry-after` in seconds, as the proxies before it have it.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tonic::Status;

use super::messages::Verdict;

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// What a `RetryInfo` is called among details, after the host of its type.
const RETRY_INFO: &str = "/google.rpc.RetryInfo";

/// What a server asks to wait. Details that can't be read ask nothing.
pub(super) fn asked_wait(status: &Status) -> Option<Duration> {
    let details = Verdict::decode(Bytes::copy_from_slice(status.details())).unwrap_or_default().details;
    let info = details.into_iter().find(|detail| detail.kind.ends_with(RETRY_INFO));
    let delay = info.and_then(|info| RetryInfo::decode(info.value).ok()).and_then(|info| info.delay);
    delay.and_then(|delay| delay.duration()).or_else(|| {
        let seconds = status.metadata().get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds))
    })
}

// === impl Delay ===

impl Delay {
    /// `None` for one that is no time to come.
    fn duration(&self) -> Option<Duration> {
        let (seconds, nanos) = (u64::try_from(self.seconds).ok()?, u32::try_from(self.nanos).ok()?);
        (nanos < 1_000_000_000).then(|| Duration::new(seconds, nanos))
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;
    use tonic::metadata::{MetadataMap, MetadataValue};

    use super::super::messages::Detail;
    use super::*;

    fn detail(kind: &str, seconds: i64, nanos: i32) -> Detail {
        let value = RetryInfo { delay: Some(Delay { seconds, nanos }) }.encode_to_vec().into();
        Detail { kind: kind.into(), value }
    }

    fn of(details: Vec<Detail>, header: Option<&'static str>) -> Option<Duration> {
        let details = Verdict { code: 8, message: "later".into(), details }.encode_to_vec();
        let mut metadata = MetadataMap::new();
        if let Some(header) = header {
            metadata.insert("retry-after", MetadataValue::from_static(header));
        }
        asked_wait(&Status::with_details_and_metadata(Code::Unavailable, "", details.into(), metadata))
    }

    #[test]
    fn a_wait_is_in_the_details_or_in_a_header() {
        let info = "type.googleapis.com/google.rpc.RetryInfo";
        let other = detail("type.googleapis.com/google.rpc.QuotaFailure", 9, 0);
        let wait = of(vec![other.clone(), detail(info, 2, 500_000_000)], Some("7"));
        assert_eq!(wait, Some(Duration::from_millis(2500)), "the details are the server's own");
        assert_eq!(of(vec![other.clone()], Some(" 7 ")), Some(Duration::from_secs(7)));
        assert_eq!(of(vec![other], None), None);
        for (seconds, nanos) in [(-1, 0), (1, -1), (0, i32::MAX)] {
            assert_eq!(of(vec![detail(info, seconds, nanos)], None), None, "{seconds} s {nanos} ns");
        }
        assert_eq!(of(Vec::new(), Some("soon")), None);
        let garbage = Status::with_details(Code::ResourceExhausted, "", Bytes::from_static(b"\xff\xff"));
        assert_eq!(asked_wait(&garbage), None);
    }
}
