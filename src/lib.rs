//! A reverse proxy that gives any AS2 server webhooks.

pub mod cli;
pub mod config;
