//! The daemon layer.
