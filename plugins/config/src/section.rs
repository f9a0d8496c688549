//! Mappings of a config file into structs that derive [`serde::Deserialize`].
//!
//! A derived implementation stops at its first mistake. Here each mistake is reported at its value; the
//! struct is then read again without that value, until all of them are found. Keys that a struct does not
//! have are reported, and not shown to it.

use std::{
    any::TypeId,
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
};

use schemars::{JsonSchema, Schema, generate::SchemaSettings};
use serde::{
    Deserializer, Serialize,
    de::{
        DeserializeOwned, DeserializeSeed, Error as _, Expected, IgnoredAny, IntoDeserializer as _,
        MapAccess, SeqAccess, Unexpected, Visitor,
        value::{MapDeserializer, StrDeserializer},
    },
    forward_to_deserialize_any,
};

use super::{tree::Entry, value::Value};

/// A mapping of the config, described by its serde attributes.
pub(crate) trait Section: DeserializeOwned + Serialize + JsonSchema + 'static {
    /// How it is written, for those who give something else.
    const EXAMPLE: &'static str = "";

    /// Judges what no single value shows, and fills in what depends on other values. `None` leaves a
    /// mistake behind.
    fn judge(&mut self, _table: &Value) -> Option<()> {
        Some(())
    }
}

/// A section of which no key is given, where each has a default.
pub(crate) fn defaults<T: Section>() -> T {
    let none = MapDeserializer::<_, SectionError>::new(std::iter::empty::<(&str, &str)>());
    T::deserialize(none).expect("every key of this section has a default")
}

/// Why a value could not be deserialized.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SectionError {
    #[error("a mistake was reported at its place")]
    Reported,
    #[error("the key `{0}` is missing")]
    Missing(&'static str),
    #[error("the words are {0:?}")]
    Words(&'static [&'static str]),
    #[error("{0}")]
    Other(String),
}

/// Reads numbers of all types as [`Deserializer::deserialize_f64`], and text as
/// [`Deserializer::deserialize_string`].
macro_rules! forward_scalars {
    ($($method:ident => $to:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SectionError> {
            self.$to(visitor)
        }
    )*};
}

/// A value on its way through serde.
struct Source<'a> {
    value: &'a Value,
    /// The entries of it, by number, in which a mistake was found.
    wrong: &'a RefCell<Vec<usize>>,
}

/// The entries of a section that are shown to its struct.
struct Entries<'a> {
    source: Source<'a>,
    entries: &'a [Entry],
    /// `None`: all are shown.
    keys: Option<&'static [&'static str]>,
    next: usize,
}

/// The items of a list.
struct Items(std::vec::IntoIter<Value>);

// === impl Value ===

impl Value {
    /// The section that this mapping is. A value with a mistake counts as not given.
    pub(crate) fn section<T: Section>(&self) -> Option<T> {
        self.entries_as_in(T::EXAMPLE)?;
        let mut section: T = self.mapping()?;
        section.judge(self).map(|()| section)
    }

    /// As [`Self::section`], of a type that judges nothing.
    pub(crate) fn mapping<T: DeserializeOwned + JsonSchema + 'static>(&self) -> Option<T> {
        let wrong = RefCell::new(Vec::new());
        loop {
            let found = wrong.borrow().len();
            match T::deserialize(Source { value: self, wrong: &wrong }) {
                Ok(section) => return Some(section),
                Err(_) if wrong.borrow().len() > found => {}
                Err(SectionError::Reported) => return None,
                Err(error) => {
                    // Serde names the first missing key only.
                    let keys = required::<T>();
                    let missing = keys.iter().filter(|key| self.get(key).is_none());
                    missing.for_each(|key| {
                        self.wrong::<()>(format!("the key `{key}` is missing"));
                    });
                    return match error {
                        SectionError::Other(what) => self.wrong(what),
                        _ => None,
                    };
                }
            }
        }
    }
}

/// The JSON Schema of a document, or of a part of one.
pub(crate) fn schema<T: JsonSchema>() -> Schema {
    SchemaSettings::draft07().into_generator().into_root_schema_for::<T>()
}

/// A section as YAML. What is not given and has no default is left out.
pub(crate) fn to_yaml<T: Section>(section: &T) -> String {
    fn prune(value: &mut serde_yaml::Value) {
        match value {
            serde_yaml::Value::Mapping(entries) => {
                entries.retain(|_, value| !value.is_null());
                entries.values_mut().for_each(prune);
            }
            serde_yaml::Value::Sequence(items) => items.iter_mut().for_each(prune),
            _ => {}
        }
    }
    let mut tree = serde_yaml::to_value(section).expect("sections are mappings with text keys");
    prune(&mut tree);
    serde_yaml::to_string(&tree).expect("a tree of values can be written")
}

/// The keys that a section must have. Looked up once for each: a file may have many mistakes.
fn required<T: JsonSchema + 'static>() -> Rc<[String]> {
    thread_local! {
        static KNOWN: RefCell<HashMap<TypeId, Rc<[String]>>> = RefCell::default();
    }
    let look_up = || {
        let schema = schema::<T>();
        let keys = schema.get("required").and_then(|keys| keys.as_array()).into_iter().flatten();
        keys.filter_map(|key| Some(key.as_str()?.to_owned())).collect()
    };
    KNOWN.with_borrow_mut(|known| known.entry(TypeId::of::<T>()).or_insert_with(look_up).clone())
}

// === impl Source ===

impl<'de> Deserializer<'de> for Source<'_> {
    type Error = SectionError;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        keys: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SectionError> {
        let entries = self.value.entries().ok_or(SectionError::Reported)?;
        for entry in entries.iter().filter(|entry| !keys.contains(&&*entry.key)) {
            self.value.unknown_key(entry, keys);
        }
        visitor.visit_map(Entries { source: self, entries, keys: Some(keys), next: 0 })
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(
        self,
        visitor: V,
    ) -> Result<V::Value, SectionError> {
        PASSED.set(Some(self.value.clone()));
        visitor.visit_unit()
    }

    // --- the types of plugins, which are not read by place ---

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SectionError> {
        let value = self.value;
        match value.describe() {
            "a list" => {
                let items = value.list().ok_or(SectionError::Reported)?;
                visitor.visit_seq(Items(items.into_iter()))
            }
            "a mapping" => {
                let entries = value.entries().ok_or(SectionError::Reported)?;
                visitor.visit_map(Entries { source: self, entries, keys: None, next: 0 })
            }
            "nothing" => visitor.visit_unit(),
            "true or false" => self.deserialize_bool(visitor),
            "a number" => self.deserialize_f64(visitor),
            _ => self.deserialize_string(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SectionError> {
        match self.value.describe() {
            "nothing" => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SectionError> {
        visitor.visit_bool(self.value.switch().ok_or(SectionError::Reported)?)
    }

    /// A number of any type: the visitor knows which ones it takes.
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SectionError> {
        const WRONG: &str = "must be a number";
        let text = self.value.quantity(WRONG).ok_or(SectionError::Reported)?;
        if let Ok(number) = text.parse() {
            visitor.visit_u64(number)
        } else if let Ok(number) = text.parse() {
            visitor.visit_i64(number)
        } else {
            visitor.visit_f64(text.parse().map_err(|_| SectionError::custom(WRONG))?)
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SectionError> {
        visitor.visit_string(self.value.text().ok_or(SectionError::Reported)?)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SectionError> {
        let word = self.value.word(words).ok_or(SectionError::Reported)?;
        let word: StrDeserializer<'_, SectionError> = word.into_deserializer();
        visitor.visit_enum(word)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, SectionError> {
        visitor.visit_newtype_struct(self)
    }

    forward_scalars! {
        deserialize_i8 => deserialize_f64 deserialize_i16 => deserialize_f64
        deserialize_i32 => deserialize_f64 deserialize_i64 => deserialize_f64
        deserialize_u8 => deserialize_f64 deserialize_u16 => deserialize_f64
        deserialize_u32 => deserialize_f64 deserialize_u64 => deserialize_f64
        deserialize_f32 => deserialize_f64 deserialize_char => deserialize_string
        deserialize_str => deserialize_string
    }

    forward_to_deserialize_any! {
        i128 u128 bytes byte_buf unit unit_struct seq tuple tuple_struct map identifier
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = SectionError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, SectionError> {
        while let Some(entry) = self.entries.get(self.next) {
            if self.keys.is_none_or(|keys| keys.contains(&&*entry.key))
                && !self.source.wrong.borrow().contains(&self.next)
            {
                let key: StrDeserializer<'_, SectionError> = entry.key.into_deserializer();
                return seed.deserialize(key).map(Some);
            }
            self.next += 1;
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, SectionError> {
        let at = self.next;
        self.next += 1;
        let value = self.source.value.child(&self.entries[at]);
        read(&value, seed).inspect_err(|_| self.source.wrong.borrow_mut().push(at))
    }
}

impl<'de> SeqAccess<'de> for Items {
    type Error = SectionError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, SectionError> {
        self.0.next().map(|value| read(&value, seed)).transpose()
    }
}

/// Reads a value, and reports a mistake in it at its place.
fn read<'de, S: DeserializeSeed<'de>>(value: &Value, seed: S) -> Result<S::Value, SectionError> {
    let wrong = RefCell::default();
    seed.deserialize(Source { value, wrong: &wrong }).map_err(|error| {
        if !matches!(error, SectionError::Reported) {
            value.wrong::<()>(error.to_string());
        }
        SectionError::Reported
    })
}

impl serde::de::Error for SectionError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        match message.to_string() {
            message if message.is_empty() => Self::Reported,
            message => Self::Other(message),
        }
    }

    // The default texts of these two quote the value, which may be a secret.

    fn invalid_type(_value: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::Other(format!("must be {expected}"))
    }

    fn invalid_value(_value: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::Other(format!("must be {expected}"))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Missing(field)
    }

    fn unknown_variant(_variant: &str, words: &'static [&'static str]) -> Self {
        Self::Words(words)
    }
}

// === values ===

thread_local! {
    /// A value on its way through serde to [`take`].
    static PASSED: Cell<Option<Value>> = const { Cell::new(None) };
}

/// The value that a deserializer of this module is for, so that a `deserialize` function reads it by its
/// place instead of through serde's types.
pub(crate) fn take<'de, D: Deserializer<'de>>(from: D) -> Result<Value, D::Error> {
    from.deserialize_ignored_any(IgnoredAny)?;
    PASSED.take().ok_or_else(|| D::Error::custom("this is read from a config file alone"))
}

/// The error of a `deserialize` function that has reported its mistake.
pub(crate) fn reported<E: serde::de::Error>() -> E {
    E::custom("")
}

/// The words of an enum.
pub(crate) fn words<T: DeserializeOwned>() -> &'static [&'static str] {
    match word::<T>("") {
        Err(SectionError::Words(words)) => words,
        _ => &[],
    }
}

/// The value that an enum's word stands for.
pub(crate) fn word<T: DeserializeOwned>(word: &str) -> Result<T, SectionError> {
    let word: StrDeserializer<'_, SectionError> = word.into_deserializer();
    T::deserialize(word)
}
