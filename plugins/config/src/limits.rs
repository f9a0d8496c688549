//! `limits` and `retention`: what messages may use, and how long and how much of them is kept.

use std::time::Duration;

use as2hook_as2::DecoderLimits;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    section::Section,
    setting::{Bytes, Setting as _, Size, Time, Whole, number, seconds},
};

/// Bounds. Over one of the decoder's the message is not decoded further (code 1300); its traffic
/// is not touched, but for `body` and `header`, which hold for the request too. What is over any
/// other gets a response of the gateway's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a message as it comes. One that is larger gets a 413.
    #[serde(with = "Bytes", default = "number::<{ 4 << 30 }, _>")]
    pub body: u64,
    /// Bytes of its attachments together.
    #[serde(with = "Bytes", default = "number::<{ 8 << 30 }, _>")]
    pub decoded: u64,
    /// Bytes that decompression may give for each byte of the body, beyond 16 MiB.
    #[serde(with = "Whole::<u32, 1, { u32::MAX as u64 }>", default = "number::<200, _>")]
    pub expansion: u32,
    /// Bytes of one MIME header block, and of a request's head. Below 1 KiB common ones do not fit; above
    /// 1 MiB a few messages fill the memory.
    #[serde(with = "Size::<usize, 1024, { 1 << 20 }>", default = "number::<{ 64 << 10 }, _>")]
    pub header: usize,
    /// Attachments of one message.
    #[serde(with = "Whole::<usize, 1, 100_000>", default = "number::<1000, _>")]
    pub attachments: usize,
    /// CPU time of one decode; 150 ms more for each MiB of the body or of what comes out of it, whichever
    /// is more.
    #[serde(with = "Time", default = "seconds::<1>")]
    pub cpu: Duration,
    /// Exchanges under way at once, over all listeners.
    #[serde(with = "Whole::<usize, 1, 1_000_000>", default = "number::<2000, _>")]
    pub in_flight: usize,
    /// Bytes of memory that exchanges may use together, as far as they are counted: see
    /// `docs/operating.md`. Below 16 MiB not even a few exchanges fit.
    #[serde(with = "Size::<u64, { 16 << 20 }, ANY>", default = "number::<{ 4 << 30 }, _>")]
    pub memory: u64,
    /// Connections open at once, for each listener.
    #[serde(with = "Whole::<usize, 1, 1_000_000>", default = "number::<10_000, _>")]
    pub connections: usize,
    /// Connections of one address (IPv6: of one /64) on the inbound listener; those of
    /// `trusted_proxies` are not counted.
    #[serde(with = "Whole::<usize, 1, 1_000_000>", default = "number::<1000, _>")]
    pub connections_per_address: usize,
    /// How long a connection may wait for a request's first byte.
    #[serde(with = "Time", default = "seconds::<60>")]
    pub idle: Duration,
    /// How long the rest of a request's head may take.
    #[serde(with = "Time", default = "seconds::<60>")]
    pub head_time: Duration,
    /// How long a request's or a response's body may take, however short it is.
    #[serde(with = "Time", default = "seconds::<120>")]
    pub body_time: Duration,
    /// Bytes of a body that give it a second more.
    #[serde(with = "Bytes", default = "number::<1024, _>")]
    pub body_rate: u64,
    /// How long a piece may take to come from, or to be taken by, either side.
    #[serde(with = "Time", default = "seconds::<60>")]
    pub piece_time: Duration,
}

const ANY: u64 = i64::MAX.cast_unsigned();

/// How long what is slow is waited for: the times of [`Limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// For a request's first byte on an open connection.
    pub idle: Duration,
    /// For the rest of a request's head.
    pub head: Duration,
    /// For a request's or a response's body, however short it is.
    pub body: Duration,
    /// Bytes of a body that give it a second more.
    pub rate: u64,
    /// For a piece to come from, or to be taken by, either side.
    pub piece: Duration,
}

/// Bounds of what is kept when there is nothing left to do about it. What waits for its delivery is
/// kept however long that takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Events with their deliveries, from the time when the last of these was delivered or dead.
    #[serde(with = "Time", default = "seconds::<{ 30 * DAY }>")]
    pub events: Duration,
    /// Attempts in the log, from their beginning.
    #[serde(with = "Time", default = "seconds::<{ 30 * DAY }>")]
    pub attempts: Duration,
    /// Reported events, all together: of more the oldest go, whatever their age. Those with a
    /// dead delivery do not count.
    #[serde(with = "Whole::<u64, 1, 1_000_000_000>", default = "number::<1_000_000, _>")]
    pub count: u64,
    /// Bytes that the store and its payloads take all together: of more the oldest events go that were
    /// delivered, as for `count`.
    #[serde(with = "Bytes", default = "number::<{ 10 << 30 }, _>")]
    pub bytes: u64,
    /// Raw payloads whose deliveries are all delivered.
    #[serde(with = "Time", default = "seconds::<{ 7 * DAY }>")]
    pub payloads: Duration,
}

const DAY: u64 = 24 * 3600;

// === impl Limits ===

impl Section for Limits {}

impl Limits {
    /// What one decode may use.
    pub fn decode(&self) -> DecoderLimits {
        let Self { body, decoded, expansion, header, attachments, .. } = *self;
        DecoderLimits { body, decoded, expansion, header, attachments }
    }

    /// How long what is slow is waited for.
    pub fn pace(&self) -> Pace {
        Pace {
            idle: self.idle,
            head: self.head_time,
            body: self.body_time,
            rate: self.body_rate,
            piece: self.piece_time,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        super::section::defaults()
    }
}

// === impl Pace ===

impl Default for Pace {
    fn default() -> Self {
        Limits::default().pace()
    }
}

// === impl Retention ===

impl Section for Retention {}
