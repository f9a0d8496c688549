//! The search of a list: what its form has, as a filter of the store and as a path.

use as2hook_store::Filter;
use maud::{Markup, html};
use uuid::Uuid;

use super::url::with_query;
use crate::{caller::Caller, error::ApiError, events};

/// Rows of a page.
pub(crate) const ROWS: usize = 50;

/// The most values that a field suggests.
const SUGGESTED: usize = 200;

/// The longest text of a field that is read, in characters.
const TEXT_MAX: usize = 1_000;

/// The fields of a search, named as the API's; `q` finds ids and file names.
const NAMES: [&str; 9] =
    ["q", "event", "partner", "station", "webhook", "status", "error_code", "from", "until"];

/// A search, as its form has it.
#[derive(Clone, Debug, Default)]
pub(crate) struct SearchForm {
    fields: Vec<(&'static str, String)>,
    /// Where the page begins.
    pub(crate) cursor: Option<i64>,
}

/// One way to read a search, for the store and for the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SearchReading {
    pub(crate) filter: Filter,
    /// The fields as the API's calls take them. `None`: none of them can say it.
    pub(crate) fields: Option<Vec<(&'static str, String)>>,
}

// === impl SearchForm ===

impl SearchForm {
    /// Reads the fields of a query. Those that are empty or not known are left out.
    pub(crate) fn of(pairs: Vec<(String, String)>) -> Self {
        let mut form = Self::default();
        for (name, value) in pairs {
            let value: String = value.trim().chars().take(TEXT_MAX).collect();
            if name == "cursor" {
                form.cursor = value.parse().ok().filter(|cursor| *cursor > 0);
            } else if let Some(name) = NAMES.into_iter().find(|known| *known == name)
                && !value.is_empty()
                && form.text(name).is_empty()
            {
                form.fields.push((name, value));
            }
        }
        form
    }

    /// Returns what a field says; empty when it says nothing.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.fields.iter().find(|(of, _)| *of == name).map_or("", |(_, value)| value)
    }

    /// Whether it selects all.
    pub(crate) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Returns it as a path, with these fields instead of its own; an empty one removes a field.
    pub(crate) fn path(&self, page: &str, other: &[(&str, &str)]) -> String {
        let own = self.fields.iter().map(|(name, value)| (*name, value.as_str()));
        let own = own.filter(|(name, _)| other.iter().all(|(changed, _)| changed != name));
        with_query(page, &own.chain(other.iter().copied()).collect::<Vec<_>>())
    }

    /// Returns the ways to read it, the likelier first: what is looked for may be a Message-ID or a file name.
    ///
    /// # Errors
    /// When a field has a value that it cannot have.
    pub(crate) fn readings(&self, caller: &Caller) -> Result<Vec<SearchReading>, ApiError> {
        let mut filter = Filter { site: Some(caller.site().to_owned()), ..Filter::default() };
        let mut fields = Vec::new();
        for (name, value) in self.fields.iter().filter(|(name, _)| *name != "q") {
            let value =
                if matches!(*name, "from" | "until") { in_utc(value) } else { value.clone() };
            events::add(&mut filter, name, &value)?;
            fields.push((*name, value));
        }
        let text = self.text("q");
        if text.is_empty() {
            return Ok(vec![SearchReading { filter, fields: Some(fields) }]);
        }
        if let Ok(event) = text.parse::<Uuid>() {
            let filter = Filter { event: Some(event), ..filter };
            return Ok(vec![SearchReading { filter, fields: None }]);
        }
        if text.starts_with("msg_") {
            let filter = Filter { webhook_id: Some(text.to_owned()), ..filter };
            return Ok(vec![SearchReading { filter, fields: None }]);
        }
        let read_as = |name: &'static str| -> Result<_, ApiError> {
            let (mut filter, mut fields) = (filter.clone(), fields.clone());
            events::add(&mut filter, name, text)?;
            fields.push((name, text.to_owned()));
            Ok(SearchReading { filter, fields: Some(fields) })
        };
        Ok(vec![read_as("message_id")?, read_as("file_name")?])
    }
}

/// Completes a time without a zone, as a form has it, to one in UTC.
fn in_utc(text: &str) -> String {
    let is_local = text.len() >= 16
        && text.bytes().all(|byte| byte.is_ascii_digit() || b"-T:.".contains(&byte));
    match text.matches(':').count() {
        1 if is_local => format!("{text}:00Z"),
        2 if is_local => format!("{text}Z"),
        _ => text.to_owned(),
    }
}

/// A field that suggests values and takes any.
pub(crate) fn suggest<'a>(
    label: &str,
    name: &str,
    value: &str,
    values: impl IntoIterator<Item = &'a str>,
) -> Markup {
    let list = format!("{name}-values");
    html! {
        div {
            label for=(name) { (label) }
            input id=(name) name=(name) value=(value) list=(list) autocomplete="off" placeholder="Any";
            datalist id=(list) {
                @for value in values.into_iter().take(SUGGESTED) { option value=(value); }
            }
        }
    }
}

/// A field for a time: in UTC, or by the script in the viewer's zone.
pub(crate) fn moment(label: &str, name: &str, value: &str) -> Markup {
    let shown = value.strip_suffix('Z').unwrap_or(value);
    html! {
        div {
            label for=(name) { (label) span data-utc-label="" { " (UTC)" } }
            input id=(name) name=(name) type="datetime-local" step="1" value=(shown) data-utc=(in_utc(value));
        }
    }
}

/// The links below a list: back to its beginning, and on to what is older; and what stands beside them.
pub(crate) fn pager(form: &SearchForm, page: &str, next: Option<i64>, beside: &Markup) -> Markup {
    let next = next.map(|next| next.to_string());
    html! {
        @if form.cursor.is_some() || next.is_some() || !beside.0.is_empty() {
            footer {
                span.acts {
                    @if form.cursor.is_some() { a.btn href=(form.path(page, &[])) { "Newest" } }
                    @if let Some(next) = &next {
                        a.btn rel="next" href=(form.path(page, &[("cursor", next)])) { "Older" }
                    }
                }
                (beside)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(pairs: &[(&str, &str)]) -> SearchForm {
        SearchForm::of(
            pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        )
    }

    #[test]
    fn empty_and_unknown_fields_are_left_out_of_a_search() {
        let form =
            form(&[("q", " a "), ("partner", ""), ("evil", "1"), ("cursor", "7"), ("q", "b")]);
        assert_eq!((form.text("q"), form.cursor), ("a", Some(7)));
        assert_eq!(
            form.path("/console/exchanges", &[("cursor", "9")]),
            "/console/exchanges?q=a&cursor=9"
        );
        assert_eq!(form.path("/console/exchanges", &[("q", "")]), "/console/exchanges");
    }

    #[test]
    fn time_of_a_form_is_in_utc() {
        for (text, utc) in [
            ("2026-11-18T18:00", "2026-11-18T18:00:00Z"),
            ("2026-11-18T18:00:01", "2026-11-18T18:00:01Z"),
            ("2026-11-18T18:00:00+01:00", "2026-11-18T18:00:00+01:00"),
            ("tomorrow", "tomorrow"),
        ] {
            assert_eq!(in_utc(text), utc);
        }
    }
}
