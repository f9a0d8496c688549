//! `limits`: what one message, and all together, may use at the most.

use super::read::Value;

/// Bounds. Over one of the first five the message is not decoded further (code 1300); its traffic
/// is not touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// What one decode may use: `body` 4 GiB, `decoded` 8 GiB, `expansion` 200, `header` 64 KiB,
    /// `attachments` 1000.
    pub decode: as2hook_as2::Limits,
    /// Exchanges that are decoded at once. Default 2000.
    pub in_flight: usize,
}

// === impl Limits ===

impl Limits {
    pub(super) fn read(value: &Value<'_>) -> Option<Self> {
        const KEYS: &[&str] =
            &["body", "decoded", "expansion", "header", "attachments", "in_flight"];
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
            decode: as2hook_as2::Limits {
                body: table.read_or("body", default.decode.body, Value::size),
                decoded: table.read_or("decoded", default.decode.decoded, Value::size),
                expansion: expansion.unwrap_or(default.decode.expansion),
                header: fit(header, default.decode.header),
                attachments: fit(
                    table.read("attachments", number(100_000)),
                    default.decode.attachments,
                ),
            },
            in_flight: fit(table.read("in_flight", number(1_000_000)), default.in_flight),
        })
    }
}

/// Below it common MIME headers do not fit; above it a few messages fill the memory.
const HEADER: std::ops::RangeInclusive<usize> = 1024..=1024 * 1024;

impl Default for Limits {
    fn default() -> Self {
        Self { decode: as2hook_as2::Limits::default(), in_flight: 2000 }
    }
}
