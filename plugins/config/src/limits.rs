//! `limits`: what one message, and all together, may use at the most.

use std::time::Duration;

use super::read::Value;

/// Bounds. Over one of the decoder's the message is not decoded further (code 1300); its traffic
/// is not touched, but for `body` and `header`, which hold for the request too. What is over any
/// other gets a response of the gateway's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// What one decode may use: `body` 4 GiB, `decoded` 8 GiB, `expansion` 200 (bytes of output for
    /// each of the body, beyond 16 MiB), `header` 64 KiB, `attachments` 1000.
    pub decode: as2hook_as2::DecoderLimits,
    /// CPU time of one decode; 150 ms more for each MiB of the body or of what comes out of it, whichever
    /// is more. Default 1 s.
    pub cpu: Duration,
    /// Exchanges under way at once, over all listeners. Default 2000.
    pub in_flight: usize,
    /// Bytes of memory that exchanges may use together, as far as they are counted: see
    /// `docs/operating.md`. Default 4 GiB.
    pub memory: u64,
    /// Connections open at once, for each listener. Default 10,000.
    pub connections: usize,
    /// Connections of one address (IPv6: of one /64) on the inbound listener; those of
    /// `trusted_proxies` are not counted. Default 1000.
    pub connections_per_address: usize,
    /// How long what is slow is waited for.
    pub pace: Pace,
}

/// How long what is slow is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// `idle`: for a request's first byte on an open connection. Default 60 s.
    pub idle: Duration,
    /// `head_time`: for the rest of a request's head. Default 60 s.
    pub head: Duration,
    /// `body_time`: for a request's or a response's body, however short it is. Default 120 s.
    pub body: Duration,
    /// `body_rate`: bytes of a body that give it a second more. Default 1 KiB.
    pub rate: u64,
    /// `piece_time`: for a piece to come from, or to be taken by, either side. Default 60 s.
    pub piece: Duration,
}

// === impl Limits ===

impl Limits {
    pub(super) fn read(value: &Value<'_>) -> Option<Self> {
        const KEYS: &[&str] = &[
            "body",
            "decoded",
            "expansion",
            "header",
            "attachments",
            "cpu",
            "in_flight",
            "memory",
            "connections",
            "connections_per_address",
            "idle",
            "head_time",
            "body_time",
            "body_rate",
            "piece_time",
        ];
        let table = value.table(KEYS)?;
        let default = Self::default();
        let fit = |value: Option<usize>, default| value.unwrap_or(default);
        let header = table.read("header", |value| match usize::try_from(value.size()?) {
            Ok(size) if HEADER.contains(&size) => Some(size),
            _ => value.wrong("must be from 1KiB to 1MiB"),
        });
        let expansion = table
            .read("expansion", |value| u32::try_from(value.whole(1, u64::from(u32::MAX))?).ok());
        let number = |most| move |value: &Value<'_>| usize::try_from(value.whole(1, most)?).ok();
        Some(Self {
            decode: as2hook_as2::DecoderLimits {
                body: table.read_or("body", default.decode.body, Value::size),
                decoded: table.read_or("decoded", default.decode.decoded, Value::size),
                expansion: expansion.unwrap_or(default.decode.expansion),
                header: fit(header, default.decode.header),
                attachments: fit(
                    table.read("attachments", number(100_000)),
                    default.decode.attachments,
                ),
            },
            cpu: table.read_or("cpu", default.cpu, Value::duration),
            in_flight: fit(table.read("in_flight", number(1_000_000)), default.in_flight),
            memory: table.read_or("memory", default.memory, |value| match value.size()? {
                size if size < MEMORY => value.wrong("must be at least 16MiB"),
                size => Some(size),
            }),
            connections: fit(table.read("connections", number(1_000_000)), default.connections),
            connections_per_address: fit(
                table.read("connections_per_address", number(1_000_000)),
                default.connections_per_address,
            ),
            pace: Pace {
                idle: table.read_or("idle", default.pace.idle, Value::duration),
                head: table.read_or("head_time", default.pace.head, Value::duration),
                body: table.read_or("body_time", default.pace.body, Value::duration),
                rate: table.read_or("body_rate", default.pace.rate, Value::size),
                piece: table.read_or("piece_time", default.pace.piece, Value::duration),
            },
        })
    }
}

/// Below it common MIME headers do not fit; above it a few messages fill the memory.
const HEADER: std::ops::RangeInclusive<usize> = 1024..=1024 * 1024;

/// Below it not even a few exchanges fit.
const MEMORY: u64 = 16 * 1024 * 1024;

impl Default for Limits {
    fn default() -> Self {
        Self {
            decode: as2hook_as2::DecoderLimits::default(),
            cpu: Duration::from_secs(1),
            in_flight: 2000,
            memory: 4 * 1024 * 1024 * 1024,
            connections: 10_000,
            connections_per_address: 1000,
            pace: Pace::default(),
        }
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(60),
            head: Duration::from_secs(60),
            body: Duration::from_secs(120),
            rate: 1024,
            piece: Duration::from_secs(60),
        }
    }
}
