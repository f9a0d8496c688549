//! What a file is: plain data, as events and `as2hook decode` have it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// The envelopes of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Edi {
    /// That of the first interchange.
    pub standard: Standard,
    /// Those that are listed, in the order of the file.
    pub interchanges: Vec<Interchange>,
    /// How many there are, listed or not.
    pub interchange_count: u64,
}

/// Whose syntax it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Standard {
    /// ANSI ASC X12.
    #[serde(rename = "X12")]
    X12,
    /// UN/EDIFACT (ISO 9735), batch or interactive.
    #[serde(rename = "EDIFACT")]
    Edifact,
    /// Any XML document.
    #[serde(rename = "XML")]
    Xml,
}

/// One interchange. Times are local ones without a zone, but for that of an SBDH.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Interchange {
    /// Of an interchange of another standard than the file's first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standard: Option<Standard>,
    /// ISA13, UNB 0020, UIB 0300, the instance identifier of an SBDH.
    pub control_number: Option<String>,
    /// Who wrote it.
    pub sender: Option<Party>,
    /// Whom it is for.
    pub receiver: Option<Party>,
    /// ISA12; syntax identifier and version of EDIFACT; the header version of an SBDH.
    pub version: Option<String>,
    /// Whether it is a test. `None`: it does not say.
    pub test: Option<bool>,
    /// ISA15 or 0035, as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<String>,
    /// When it was prepared.
    pub prepared_at: Option<String>,
    /// The functional groups that are listed.
    pub groups: Vec<FunctionalGroup>,
    /// The documents that are listed.
    pub documents: Vec<EdiDocument>,
    /// How many groups it has, listed or not.
    #[serde(default)]
    pub group_count: u64,
    /// How many documents it has, listed or not.
    pub document_count: u64,
    /// How many packages (UNO) it has.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub package_count: u64,
    /// How many TA1 it has.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub interchange_acks: u64,
    /// Whether it is interactive EDIFACT (UIB).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub interactive: bool,
    /// Whether its trailer was seen.
    pub complete: bool,
    /// The event of the same interchange, received before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplicate_of: Option<String>,
    /// What is damaged, as far as it is listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<EdiWarning>,
    /// How many warnings there are, if more than are listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning_count: Option<u64>,
}

/// A sender or a receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    /// Whose code the id is: ISA05, 0007, `@Authority`.
    pub qualifier: Option<String>,
    /// The id, without padding.
    pub id: Option<String>,
}

/// A functional group: GS, UNG.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FunctionalGroup {
    /// GS01, 0038.
    pub functional_id: Option<String>,
    /// GS06, 0048.
    pub control_number: Option<String>,
    /// GS08; S008.
    pub version: Option<String>,
    /// GS02, S006.
    #[serde(default)]
    pub sender: Option<Party>,
    /// GS03, S007.
    #[serde(default)]
    pub receiver: Option<Party>,
}

/// A transaction set, a message, or an XML document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EdiDocument {
    /// ST01, 0065, the type of an SBDH, else the local name of the root element.
    #[serde(rename = "type")]
    pub document_type: Option<String>,
    /// ST03 or GS08; 0052:0054:0051:0057; the type version of an SBDH.
    pub version: Option<String>,
    /// ST02, 0062, 0340.
    pub control_number: Option<String>,
    /// The index of its group in [`Interchange::groups`], if it is in one that is listed.
    pub group: Option<usize>,
    /// Of XML alone.
    #[serde(flatten)]
    pub xml: Option<XmlRoot>,
}

/// The root element, or that of the business document behind an SBDH.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct XmlRoot {
    /// Its local name.
    pub root: String,
    /// Its namespace.
    pub namespace: Option<String>,
}

/// How many documents of one type an event has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DocumentCount {
    /// Whose type it is.
    pub standard: Standard,
    /// As [`EdiDocument::document_type`].
    #[serde(rename = "type")]
    pub document_type: String,
    /// How many, listed or not.
    pub count: u64,
}

/// Something in an interchange that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdiWarning {
    /// A stable word. No enum: an event may be read by a version that does not know it yet.
    pub code: Cow<'static, str>,
    /// The segment, or its element: `SE01`.
    pub segment: Cow<'static, str>,
    /// What was counted, or stands in the header.
    pub expected: Option<WarningValue>,
    /// What is written instead.
    pub found: Option<WarningValue>,
}

/// A number where it is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum WarningValue {
    /// A count.
    Number(u64),
    /// Whatever else.
    Text(String),
}

// === impl Standard ===

impl Standard {
    /// Returns its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::X12 => "X12",
            Self::Edifact => "EDIFACT",
            Self::Xml => "XML",
        }
    }
}

/// For serde alone.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

// === impl EdiWarning ===

impl EdiWarning {
    pub(crate) fn new(
        code: &'static str,
        segment: &'static str,
        expected: Option<WarningValue>,
        found: Option<WarningValue>,
    ) -> Self {
        Self { code: Cow::Borrowed(code), segment: Cow::Borrowed(segment), expected, found }
    }
}

impl From<u64> for WarningValue {
    fn from(count: u64) -> Self {
        Self::Number(count)
    }
}

impl From<&str> for WarningValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}
