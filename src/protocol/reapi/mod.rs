//! The Remote Execution API. Only its messages so far: what HTTP clients of it (moon) need.

pub mod messages;
