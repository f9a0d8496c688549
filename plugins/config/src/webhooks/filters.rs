//! What a rule wants of signature and errors.

use as2hook_as2::{ErrorCode, SignatureStatus};
use as2hook_event::{ErrorFilter, Filters};

use super::{Table, Value};

pub(super) fn read(table: &Table<'_>) -> Filters {
    Filters { signature: table.read("signature", signature), errors: table.read("errors", errors) }
}

fn signature(value: &Value<'_>) -> Option<Vec<SignatureStatus>> {
    let words = SignatureStatus::ALL.map(|status| (status.as_str(), status));
    distinct(value, "one status", |item| item.choice(&words))
}

fn errors(value: &Value<'_>) -> Option<ErrorFilter> {
    if value.is_list() {
        return distinct(value, "one code", code).map(ErrorFilter::Codes);
    }
    if value.is_word("none") {
        Some(ErrorFilter::None)
    } else if value.is_word("any") {
        Some(ErrorFilter::Any)
    } else {
        value.wrong("must be none, any or a list of codes such as [800, 900]")
    }
}

fn code(value: &Value<'_>) -> Option<ErrorCode> {
    let known = ErrorCode::ALL.into_iter().find(|code| value.is_word(&code.number().to_string()));
    known.or_else(|| {
        let codes = ErrorCode::ALL.map(|code| code.number().to_string()).join(", ");
        value.wrong(format!("is no processing error; the codes are {codes}"))
    })
}

/// The items of a list; empty or with an item twice it is a mistake.
fn distinct<T: PartialEq>(
    value: &Value<'_>,
    least: &str,
    read: impl Fn(&Value<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let items = value.list()?;
    if items.is_empty() {
        return value.wrong(format!("needs {least} at least; leave the key out for any"));
    }
    let mut found = Vec::new();
    for item in &items {
        match read(item) {
            Some(one) if found.contains(&one) => {
                item.wrong::<()>("is given twice");
            }
            one => found.extend(one),
        }
    }
    Some(found)
}
