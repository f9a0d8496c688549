//! The rate limit of a webhook.

use std::{fmt, num::NonZeroU32, str::FromStr, time::Duration};

/// The most attempts in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: NonZeroU32,
    /// One of `PERIODS`.
    seconds: u32,
}

/// The times that a rate may be for, each with its seconds.
const PERIODS: [(&str, u32); 4] = [("s", 1), ("min", 60), ("m", 60), ("h", 3600)];

/// Why a text is not a [`Rate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRate {
    /// It cannot be parsed.
    #[error("must be a rate such as 50/s, 600/min or 1000/h")]
    Unreadable,
    /// Nothing would ever be sent.
    #[error("must be one at least; `enabled: false` sends nothing")]
    Zero,
    /// More than any machine sends.
    #[error("must be at most 100000/s")]
    TooMany,
}

// === impl Rate ===

impl Rate {
    /// Returns the time from one attempt to the next when they are evenly spread; never zero.
    pub fn interval(self) -> Duration {
        Duration::from_secs(self.seconds.into()) / self.count.get()
    }

    /// Returns how many may begin at once after a pause: a tenth of a second's worth, at least one.
    /// Thus no second has more than the rate and a tenth of it.
    pub fn burst(self) -> u32 {
        let tenth = Duration::from_millis(100).as_nanos() / self.interval().as_nanos().max(1);
        u32::try_from(tenth).unwrap_or(u32::MAX).max(1)
    }
}

impl FromStr for Rate {
    type Err = BadRate;

    /// `50/s`, `600/min` (or `/m`), `1000/h`; a number alone is per second.
    fn from_str(text: &str) -> Result<Self, BadRate> {
        /// In one second.
        const MOST: u64 = 100_000;
        let (count, per) = text.split_once('/').unwrap_or((text, "s"));
        let period = PERIODS.iter().find(|(name, _)| *name == per.trim());
        let (_, seconds) = *period.ok_or(BadRate::Unreadable)?;
        let digits = count.trim();
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(BadRate::Unreadable);
        }
        let count: u32 = digits.parse().map_err(|_| BadRate::TooMany)?;
        let count = NonZeroU32::new(count).ok_or(BadRate::Zero)?;
        if u64::from(count.get()) > MOST * u64::from(seconds) {
            return Err(BadRate::TooMany);
        }
        Ok(Self { count, seconds })
    }
}

/// As it is written in a rule.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let period = PERIODS.iter().find(|(_, seconds)| *seconds == self.seconds);
        write!(f, "{}/{}", self.count, period.map_or("s", |(name, _)| name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_shown() {
        for (text, shown, interval, burst) in [
            ("50/s", "50/s", 20_000, 5),
            ("50", "50/s", 20_000, 5),
            (" 600 / min ", "600/min", 100_000, 1),
            ("600/m", "600/min", 100_000, 1),
            ("1/h", "1/h", 3_600_000_000, 1),
            ("100000/s", "100000/s", 10, 10_000),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!(rate.to_string(), shown);
            assert_eq!((rate.interval(), rate.burst()), (Duration::from_micros(interval), burst));
        }
    }

    #[test]
    fn what_is_no_rate_says_why() {
        for (text, error) in [
            ("", BadRate::Unreadable),
            ("/s", BadRate::Unreadable),
            ("+5/s", BadRate::Unreadable),
            ("1.5/s", BadRate::Unreadable),
            ("5/d", BadRate::Unreadable),
            ("5/s/s", BadRate::Unreadable),
            ("0/s", BadRate::Zero),
            ("100001/s", BadRate::TooMany),
            ("99999999999/h", BadRate::TooMany),
        ] {
            assert_eq!(text.parse::<Rate>(), Err(error), "{text}");
        }
    }
}
