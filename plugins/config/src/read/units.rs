//! Sizes (`64KiB`), durations (`15s`) and rates (`50/s`) as people write them.

use std::time::Duration;

use as2hook_event::Rate;

use super::Value;

// === impl Value ===

impl Value<'_> {
    /// A number of bytes: `4096`, `64KiB`, `2 GiB`, `1MB`. Never none.
    pub(crate) fn size(&self) -> Option<u64> {
        const WRONG: &str = "must be a size such as 4096, 64KiB or 2GiB";
        let text = self.unit_text(WRONG)?;
        match parse_size(&text) {
            Some(0) => self.wrong("must be more than 0 bytes"),
            Some(size) => Some(size),
            None => self.wrong(WRONG),
        }
    }

    /// A time: `500ms`, `15s`, `5m`, `24h`, `7d`. Never none, and at most ten years.
    pub(crate) fn duration(&self) -> Option<Duration> {
        const WRONG: &str = "must be a duration with its unit, such as 500ms, 15s, 5m, 24h or 7d";
        let text = self.unit_text(WRONG)?;
        match parse_duration(&text) {
            Some(Duration::ZERO) => self.wrong("must be longer than nothing"),
            Some(duration) if duration > MOST => self.wrong("must be at most 3650d"),
            Some(duration) => Some(duration),
            None => self.wrong(WRONG),
        }
    }

    /// So many in a time: `50/s`, `600/min`, `1000/h`; a number alone is of a second.
    pub(crate) fn rate(&self) -> Option<Rate> {
        let text = self.unit_text("must be a rate such as 50/s, 600/min or 1000/h")?;
        match text.parse() {
            Ok(rate) => Some(rate),
            Err(error) => self.wrong(error.to_string()),
        }
    }

    fn unit_text(&self, wrong: &str) -> Option<String> {
        match self.node.describe() {
            "a number" | "text" => Some(self.expanded()?.into_owned()),
            _ => self.wrong(wrong),
        }
    }
}

/// Longer than any deadline has sense, and far from any overflow in sums of times.
const MOST: Duration = Duration::from_secs(3650 * 86_400);

fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let factor: u64 = match unit {
        "" | "B" => 1,
        "KiB" | "K" => 1 << 10,
        "MiB" | "M" => 1 << 20,
        "GiB" | "G" => 1 << 30,
        "TiB" | "T" => 1 << 40,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return None,
    };
    // One that does not fit a file offset fits nothing.
    number.checked_mul(factor).filter(|size| i64::try_from(*size).is_ok())
}

fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(milliseconds).map(Duration::from_millis)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, size) in [
            ("1", 1),
            ("0", 0),
            ("64KiB", 64 * 1024),
            ("2GiB", 2 << 30),
            ("2 GiB", 2 << 30),
            ("1MB", 1_000_000),
            ("3M", 3 << 20),
        ] {
            assert_eq!(parse_size(text), Some(size), "{text}");
        }
        for wrong in ["", "KiB", "-1", "1.5GiB", "1gib", "1XB", "99999999999TiB", "8388608TiB"] {
            assert_eq!(parse_size(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn durations() {
        for (text, milliseconds) in
            [("500ms", 500), ("15s", 15_000), ("5m", 300_000), ("24h", 86_400_000), ("0s", 0)]
        {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        assert_eq!(parse_duration("7d"), Some(Duration::from_secs(7 * 86_400)));
        for wrong in ["", "15", "s", "-1s", "1.5s", "1 week", "15S", "99999999999999999d"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }
}
