//! Settings that may be left out, and several of one kind.

use std::marker::PhantomData;

use schemars::json_schema;
use serde::Serialize;

use super::Setting;
use crate::{section::Section, value::Value};

/// A value that may be left out.
pub(crate) struct Maybe<A>(PhantomData<A>);

/// A list; items with mistakes are left out.
pub(crate) struct List<A>(PhantomData<A>);

/// A mapping.
pub(crate) struct Table<T>(PhantomData<T>);

impl<A: Setting> Setting for Maybe<A> {
    type Value = Option<A::Value>;

    fn read(value: &Value) -> Option<Self::Value> {
        A::read(value).map(Some)
    }

    fn shown(value: &Self::Value) -> impl Serialize {
        value.as_ref().map(A::shown)
    }
}

impl<A: Setting> Setting for List<A> {
    type Value = Vec<A::Value>;

    fn read(value: &Value) -> Option<Self::Value> {
        Some(value.list()?.iter().filter_map(A::read).collect())
    }

    fn shown(value: &Self::Value) -> impl Serialize {
        value.iter().map(A::shown).collect::<Vec<_>>()
    }
}

impl<T: Section> Setting for Table<T> {
    type Value = T;

    fn read(value: &Value) -> Option<T> {
        value.section()
    }

    fn shown(value: &T) -> impl Serialize {
        value
    }
}

/// The items of a list, none of them twice.
pub(crate) fn distinct<A: Setting<Value: PartialEq>>(
    value: &Value,
    least: &str,
    twice: &str,
) -> Option<Vec<A::Value>> {
    let items = value.list()?;
    if items.is_empty() {
        return value.wrong(least);
    }
    let mut found = Vec::new();
    for item in &items {
        match A::read(item) {
            Some(one) if found.contains(&one) => {
                item.wrong::<()>(twice);
            }
            one => found.extend(one),
        }
    }
    Some(found)
}

schema!([A: Setting] Maybe<A>, |generator| generator.subschema_for::<A>());
schema!([T: Section] Table<T>, |generator| generator.subschema_for::<T>());
schema!([A: Setting] List<A>, |generator| {
    json_schema!({ "type": "array", "items": generator.subschema_for::<A>() })
});
