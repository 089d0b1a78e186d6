//! Larder from outside: the binary, the real tools, a real bucket, and everything that goes wrong between them.
//!
//! One binary, so that it links once. Each module tests promises of one kind; `support` holds what they share.

mod access_log;
mod bad_input;
mod bounds;
mod cli;
mod clients;
mod contract;
mod cost;
mod disk;
mod doctor;
mod doors_golden;
mod doors_lage;
mod doors_places;
mod doors_sdks;
mod doors_tokens;
mod doors_tools;
mod faults;
mod golden;
mod logs;
mod metrics;
mod neighbours;
mod product;
mod proxy;
mod reapi;
mod reapi_clients;
mod reapi_door;
mod reapi_faults;
mod reapi_product;
mod reload;
mod renewal;
mod rights;
mod roaming;
mod routing;
mod serve;
mod service;
mod service_soak;
mod service_system;
mod support;
mod systemd;
mod units;
mod units_control;
mod units_launchd;
mod units_systemd;
mod upstream_contract;
mod without_bytes;
