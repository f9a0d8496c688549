//! How single values of the config are written: each type here is for `#[serde(with = "…")]`, reads a value
//! at its place, writes it, and describes it for the JSON Schema.

use std::{marker::PhantomData, path::PathBuf, time::Duration};

use as2hook_event::{BadRate, Rate, SecretString};
use schemars::{JsonSchema, json_schema};
use serde::{Deserializer, Serialize, Serializer, de::DeserializeOwned};

use super::{
    section::{reported, take, word, words},
    value::{FromFile, Value},
};

/// A way to write a value.
pub(crate) trait Setting: JsonSchema {
    type Value;

    /// Reports a mistake, or gives the value.
    fn read(value: &Value) -> Option<Self::Value>;

    /// What it is written as; of a secret nothing.
    fn shown(value: &Self::Value) -> impl Serialize;

    fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Self::Value, D::Error> {
        Self::read(&take(from)?).ok_or_else(reported)
    }

    fn serialize<S: Serializer>(value: &Self::Value, to: S) -> Result<S::Ok, S::Error> {
        Self::shown(value).serialize(to)
    }
}

/// Defines a [`Setting`]: its value's type, how it is read and shown, and its JSON Schema, which is that of
/// text unless it is given.
macro_rules! setting {
    ($(#[$doc:meta])* $name:ident: $value:ty, $read:expr, $shown:expr $(,)?) => {
        $crate::setting::setting!(
            $(#[$doc])* $name: $value, $read, $shown, { "type": "string", "minLength": 1 }
        );
    };
    ($(#[$doc:meta])* $name:ident: $value:ty, $read:expr, $shown:expr, $schema:tt $(,)?) => {
        $(#[$doc])*
        pub(crate) struct $name;

        impl $crate::setting::Setting for $name {
            type Value = $value;

            fn read(value: &$crate::value::Value) -> Option<$value> {
                let read: fn(&$crate::value::Value) -> Option<$value> = $read;
                read(value)
            }

            fn shown(value: &$value) -> impl serde::Serialize {
                ($shown)(value)
            }
        }

        $crate::setting::schema!([] $name, |_| schemars::json_schema!($schema));
    };
}

/// The JSON Schema of a [`Setting`].
macro_rules! schema {
    ([$($generics:tt)*] $name:ty, |$generator:pat_param| $schema:expr) => {
        impl<$($generics)*> schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema($generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $schema
            }
        }
    };
}

pub(crate) use {schema, setting};

mod addresses;
mod several;

pub(crate) use addresses::*;
pub(crate) use several::*;

// === text ===

setting!(
    /// One line.
    Line: String, Value::line, String::as_str
);

setting!(
    /// An AS2 name, without the quotes that it has on the wire (RFC 4130, section 6.2), or a tenant's. It is
    /// compared as it stands: a blank at an end would never be seen, and never match.
    Identifier: String,
    |value| match value.line()? {
        name if name.chars().count() > 128 || name.trim() != name => {
            value.wrong("must have 128 characters at most, and no blank at its ends")
        }
        name => Some(name),
    },
    String::as_str,
    { "type": "string", "minLength": 1, "maxLength": 128 }
);

setting!(
    /// A path as it stands: it is relative to the folder of its file.
    FilePath: PathBuf,
    |value| value.line().map(PathBuf::from),
    PathBuf::clone
);

setting!(SecretText: SecretString, |value| value.text().map(SecretString::from), |_| "***");

setting!(
    /// A file with the passphrase of the key beside it.
    PassphraseFile: FromFile<SecretString>,
    |value| value.secret_file("passphrase"),
    FromFile::path
);

// === numbers ===

setting!(
    Switch: bool,
    Value::switch,
    bool::clone,
    { "anyOf": [{ "type": "boolean" }, { "enum": ["on", "off"] }, { "type": "string", "pattern": r"\$\{" }] }
);

/// A whole number within bounds.
pub(crate) struct Whole<T, const LEAST: u64, const MOST: u64>(PhantomData<T>);

impl<T: TryFrom<u64> + Serialize, const LEAST: u64, const MOST: u64> Setting
    for Whole<T, LEAST, MOST>
{
    type Value = T;

    fn read(value: &Value) -> Option<T> {
        T::try_from(value.whole(LEAST, MOST)?).ok()
    }

    fn shown(value: &T) -> impl Serialize {
        value
    }
}

schema!([T, const LEAST: u64, const MOST: u64] Whole<T, LEAST, MOST>, |_| {
        let number = json_schema!({ "type": "integer", "minimum": LEAST, "maximum": MOST });
        json_schema!({ "anyOf": [number, { "type": "string", "pattern": r"\$\{" }] })
});

/// A number of bytes within bounds: `4096`, `64KiB`, `2 GiB`, `1MB`.
pub(crate) struct Size<T, const LEAST: u64, const MOST: u64>(PhantomData<T>);

/// One that does not fit a file offset fits nothing.
const ANY_SIZE: u64 = i64::MAX.cast_unsigned();
pub(crate) type Bytes = Size<u64, 1, ANY_SIZE>;

impl<T: TryFrom<u64> + TryInto<u64> + Copy, const LEAST: u64, const MOST: u64> Setting
    for Size<T, LEAST, MOST>
{
    type Value = T;

    fn read(value: &Value) -> Option<T> {
        const WRONG: &str = "must be a size such as 4096, 64KiB or 2GiB";
        match parse_size(&value.quantity(WRONG)?) {
            None => value.wrong(WRONG),
            Some(size) if (LEAST..=MOST).contains(&size) => T::try_from(size).ok(),
            Some(_) if LEAST == 1 => value.wrong("must be more than 0 bytes"),
            Some(_) if MOST == ANY_SIZE => {
                value.wrong(format!("must be at least {}", show_size(LEAST)))
            }
            Some(_) => {
                value.wrong(format!("must be from {} to {}", show_size(LEAST), show_size(MOST)))
            }
        }
    }

    fn shown(value: &T) -> impl Serialize {
        show_size((*value).try_into().unwrap_or(u64::MAX))
    }
}

schema!([T, const LEAST: u64, const MOST: u64] Size<T, LEAST, MOST>, |_| {
        let text = json_schema!({ "type": "string", "pattern": r"^\d+ *([KMGT]iB|[KMGT]|k?B|[KMGT]B)?$|\$\{" });
        json_schema!({ "anyOf": [{ "type": "integer", "minimum": LEAST }, text] })
});

const SIZES: [(&str, u64); 4] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let factor: u64 = match unit {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        unit => SIZES.iter().find(|(name, _)| *name == unit || name[..1] == *unit)?.1,
    };
    number.checked_mul(factor).filter(|size| *size <= ANY_SIZE)
}

fn show_size(size: u64) -> String {
    match SIZES.iter().find(|(_, factor)| size >= *factor && size.is_multiple_of(*factor)) {
        Some((unit, factor)) => format!("{}{unit}", size / factor),
        None => size.to_string(),
    }
}

setting!(
    /// A time: `500ms`, `15s`, `5m`, `24h`, `7d`. Never none, and at most ten years.
    Time: Duration,
    |value| {
        // Longer than any deadline has sense, and far from any overflow in sums of times.
        const MOST: Duration = Duration::from_secs(3650 * 86_400);
        const WRONG: &str = "must be a duration with its unit, such as 500ms, 15s, 5m, 24h or 7d";
        match parse_duration(&value.quantity(WRONG)?) {
            Some(Duration::ZERO) => value.wrong("must be longer than nothing"),
            Some(duration) if duration > MOST => value.wrong("must be at most 3650d"),
            Some(duration) => Some(duration),
            None => value.wrong(WRONG),
        }
    },
    |duration: &Duration| show_duration(*duration),
    { "type": "string", "pattern": r"^\d+ *(ms|s|m|h|d)$|\$\{" }
);

const TIMES: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let (_, milliseconds) = TIMES.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*milliseconds).map(Duration::from_millis)
}

pub(crate) fn show_duration(duration: Duration) -> String {
    let time = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    // One day is written as 24h, as deadlines are.
    let fits = |(unit, length): &&(&str, u64)| {
        time.is_multiple_of(*length) && (*unit != "d" || time > *length)
    };
    TIMES
        .iter()
        .find(fits)
        .map_or_else(String::new, |(unit, length)| format!("{}{unit}", time / length))
}

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim_start()))
}

/// Defaults of the derived structs: `default = "seconds::<60>"`.
pub(crate) fn seconds<const SECONDS: u64>() -> Duration {
    Duration::from_secs(SECONDS)
}

pub(crate) fn number<const NUMBER: u64, T: TryFrom<u64> + Default>() -> T {
    T::try_from(NUMBER).unwrap_or_default()
}

pub(crate) fn yes() -> bool {
    true
}

setting!(
    /// So many in a time: `50/s`, `600/min`, `1000/h`; a number alone is of a second.
    RateLimit: Rate,
    |value| {
        let text = value.quantity("must be a rate such as 50/s, 600/min or 1000/h")?;
        text.parse().map_err(|error: BadRate| value.wrong::<()>(error.to_string())).ok()
    },
    Rate::to_string,
    { "anyOf": [{ "type": "integer", "minimum": 1 }, { "type": "string", "pattern": r"^\d+ */ *(s|min|m|h)$|^\d+$|\$\{" }] }
);

setting!(
    /// A SHA-256 in hex.
    Sha256: [u8; 32],
    |value| {
        let text = value.text()?;
        let mut digest = [0; 32];
        if text.len() != 2 * digest.len() || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return value
                .wrong("must be 64 hexadecimal digits, as `as2hook hash-token` prints them for a token");
        }
        for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        if digest == openssl::sha::sha256(b"") {
            return value.wrong("is the digest of an empty token");
        }
        Some(digest)
    },
    |_| "***",
    { "type": "string", "pattern": r"^[0-9A-Fa-f]{64}$|\$\{" }
);

// === words ===

/// One of an enum's words, as serde has them.
pub(crate) struct Word<T>(PhantomData<T>);

impl<T: DeserializeOwned + Serialize> Setting for Word<T> {
    type Value = T;

    fn read(value: &Value) -> Option<T> {
        word(value.word(words::<T>())?).ok()
    }

    fn shown(value: &T) -> impl Serialize {
        value
    }
}

schema!([T: DeserializeOwned] Word<T>, |_| {
    json_schema!({ "anyOf": [{ "enum": words::<T>() }, { "type": "string", "pattern": r"\$\{" }] })
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_is_a_number_with_its_unit() {
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
            assert_eq!(parse_size(&show_size(size)), Some(size), "{text}");
        }
        for wrong in ["", "KiB", "-1", "1.5GiB", "1gib", "1XB", "99999999999TiB", "8388608TiB"] {
            assert_eq!(parse_size(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn duration_is_a_number_with_its_unit() {
        for (text, milliseconds) in
            [("500ms", 500), ("15s", 15_000), ("5m", 300_000), ("24h", 86_400_000), ("0s", 0)]
        {
            let duration = Duration::from_millis(milliseconds);
            assert_eq!(parse_duration(text), Some(duration), "{text}");
            assert_eq!(parse_duration(&show_duration(duration)), Some(duration), "{text}");
        }
        assert_eq!(parse_duration("7d"), Some(Duration::from_secs(7 * 86_400)));
        assert_eq!(show_duration(Duration::from_secs(7 * 86_400)), "7d");
        assert_eq!(show_duration(Duration::from_secs(86_400)), "24h");
        for wrong in ["", "15", "s", "-1s", "1.5s", "1 week", "15S", "99999999999999999d"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }
}
