//! What the store promises, one by one. The model in `model.rs` drives the same in random order.
