//! The upstream layer.
