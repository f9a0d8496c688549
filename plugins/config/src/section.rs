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
        DeserializeOwned, DeserializeSeed, Error as _, IgnoredAny, IntoDeserializer as _,
        MapAccess, Visitor,
        value::{MapDeserializer, StrDeserializer},
    },
    forward_to_deserialize_any,
};

use super::{tree::Entry, value::Value};

/// A mapping of the config, described by its serde attributes.
pub(crate) trait Section: DeserializeOwned + Serialize + JsonSchema + 'static {
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
    keys: &'static [&'static str],
    next: usize,
}

// === impl Value ===

impl Value {
    /// The section that this mapping is. A value with a mistake counts as not given.
    pub(crate) fn section<T: Section>(&self) -> Option<T> {
        let wrong = RefCell::new(Vec::new());
        loop {
            let found = wrong.borrow().len();
            match T::deserialize(Source { value: self, wrong: &wrong }) {
                Ok(mut section) => return section.judge(self).map(|()| section),
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
fn required<T: Section>() -> Rc<[String]> {
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
        visitor.visit_map(Entries { source: self, entries, keys, next: 0 })
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, SectionError> {
        PASSED.set(Some(self.value.clone()));
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = SectionError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, SectionError> {
        while let Some(entry) = self.entries.get(self.next) {
            if self.keys.contains(&&*entry.key) && !self.source.wrong.borrow().contains(&self.next)
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
        let wrong = RefCell::default();
        seed.deserialize(Source { value: &value, wrong: &wrong }).map_err(|error| {
            if !matches!(error, SectionError::Reported) {
                value.wrong::<()>(error.to_string());
            }
            self.source.wrong.borrow_mut().push(at);
            SectionError::Reported
        })
    }
}

impl serde::de::Error for SectionError {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        match message.to_string() {
            message if message.is_empty() => Self::Reported,
            message => Self::Other(message),
        }
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
