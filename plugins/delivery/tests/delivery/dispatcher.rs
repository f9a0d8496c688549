//! From the commit to the webhook, and on until it has it.

mod attempts;
mod life;
mod order;
mod payloads;
mod retries;
mod service;
