//! Compares what was delivered of the cases with what should be.

use serde_json::{Value, json};

/// All differences of all cases, so that one run shows every one.
#[derive(Default)]
pub(crate) struct Differences(Vec<String>);

/// The delivery of one case.
pub(crate) struct Delivered<'a> {
    all: &'a mut Vec<String>,
    case: &'a str,
    pub(crate) json: Value,
}

// === impl Differences ===

impl Differences {
    /// The delivery of this case.
    pub(crate) fn of<'a>(&'a mut self, case: &'a str, json: Value) -> Delivered<'a> {
        Delivered { all: &mut self.0, case, json }
    }

    /// Fails with all of them.
    pub(crate) fn none(&self) {
        assert!(self.0.is_empty(), "{} differences:\n{}", self.0.len(), self.0.join("\n"));
    }
}

// === impl Delivered ===

impl Delivered<'_> {
    /// This key of the JSON has this value.
    pub(crate) fn has(&mut self, key: &str, should: Value) {
        self.at(&format!("/{key}"), should);
    }

    /// This place in the JSON has this value.
    pub(crate) fn at(&mut self, pointer: &str, should: Value) {
        let is = self.json.pointer(pointer).cloned().unwrap_or_default();
        self.same(pointer, is, should);
    }

    /// Of the names of an algorithm, `sha256` and `sha-256` are one.
    pub(crate) fn has_mic(&mut self, key: &str, should: &str) {
        let plain = |mic: &str| match mic.split_once(", ") {
            Some((sum, algorithm)) => format!("{sum}, {}", algorithm.replace('-', "")),
            None => mic.to_owned(),
        };
        let is = self.json[key].as_str().unwrap_or_default();
        self.same(key, json!(plain(is)), json!(plain(should)));
    }

    /// These two are the same.
    #[expect(clippy::needless_pass_by_value, reason = "every caller makes them for this call")]
    pub(crate) fn same(&mut self, what: &str, is: Value, should: Value) {
        if is != should {
            self.all.push(format!("{}: {what} is {is}, should be {should}", self.case));
        }
    }
}
