//! The memory tier.
