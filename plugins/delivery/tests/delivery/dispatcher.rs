//! From the commit to the accepted delivery.

mod attempts;
mod life;
mod order;
mod payloads;
mod retries;
mod service;
mod sinks;
