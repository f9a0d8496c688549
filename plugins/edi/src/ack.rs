//! What a file acknowledges: 997, 999, TA1 and CONTRL, as `ack.received` has it.

use serde::{Deserialize, Serialize};

/// One acknowledgement: of a group (997, 999) or of an interchange (TA1, CONTRL).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ack {
    /// `997`, `999`, `TA1` or `CONTRL`.
    #[serde(rename = "type")]
    pub ack_type: String,
    /// `None`: its code is none of the standard, or missing.
    pub status: Option<AckStatus>,
    /// The interchange that it is of.
    pub interchange: Option<AckedInterchange>,
    /// The group that it is of.
    pub group: Option<AckedGroup>,
    /// What it says of single documents, as far as it is listed.
    pub documents: Vec<AckedDocument>,
    /// How many documents it names, if more than are listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document_count: Option<u64>,
    /// Groups that a CONTRL rejects (UCF).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected_groups: Vec<RejectedGroup>,
    /// The event of the message that it acknowledges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_event_id: Option<String>,
}

/// What became of the acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AckStatus {
    /// All of it.
    Accepted,
    /// All of it, although it has errors.
    AcceptedWithErrors,
    /// Some of its documents are rejected.
    Partially,
    /// All of it.
    Rejected,
    /// Neither accepted nor rejected yet.
    Received,
}

/// The original's identity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AckedInterchange {
    /// TA101, 0020.
    pub control_number: Option<String>,
    /// The original's sender; a TA1 does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<crate::Party>,
    /// The original's receiver; a TA1 does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receiver: Option<crate::Party>,
    /// TA102 and 103.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepared_at: Option<String>,
    /// TA104, 0083.
    pub code: Option<String>,
    /// TA105.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// 0085.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
}

/// The original group's identity, and AK9.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AckedGroup {
    /// AK101.
    pub functional_id: Option<String>,
    /// AK102.
    pub control_number: Option<String>,
    /// AK103.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// AK901.
    pub status: Option<String>,
    /// AK902.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub included: Option<u64>,
    /// AK903.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<u64>,
    /// AK904.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<u64>,
    /// AK905 to AK909.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<String>,
}

/// A transaction set (AK2) or a message (UCM).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AckedDocument {
    /// AK201, 0065.
    #[serde(rename = "type")]
    pub document_type: Option<String>,
    /// AK202, 0062.
    pub control_number: Option<String>,
    /// `None`: its code is none of the standard, or missing.
    pub status: Option<AckStatus>,
    /// AK501 or IK501, 0083.
    pub code: Option<String>,
    /// AK502 to AK506, 0085.
    pub errors: Vec<String>,
}

/// A group that a CONTRL rejects (UCF).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RejectedGroup {
    /// 0048.
    pub control_number: Option<String>,
    /// 0083.
    pub code: Option<String>,
    /// 0085.
    pub errors: Vec<String>,
}

// === impl AckStatus ===

impl AckStatus {
    /// By AK501, IK501, AK901 or TA104.
    pub(crate) fn of_x12(code: &str) -> Option<Self> {
        match code {
            "A" => Some(Self::Accepted),
            "E" => Some(Self::AcceptedWithErrors),
            "P" => Some(Self::Partially),
            "M" | "R" | "W" | "X" => Some(Self::Rejected),
            _ => None,
        }
    }

    /// By 0083. 1, 2, 3, 5 and 6 left the code list in 2001, and are still sent.
    pub(crate) fn of_edifact(code: &str) -> Option<Self> {
        match code {
            "1" | "7" => Some(Self::Accepted),
            "2" => Some(Self::AcceptedWithErrors),
            "3" => Some(Self::Partially),
            "4" | "6" => Some(Self::Rejected),
            // 5 accepts UNB and UNZ alone, which says nothing of what is between them.
            "5" | "8" => Some(Self::Received),
            _ => None,
        }
    }

    /// Whether something is rejected.
    pub(crate) fn is_rejection(self) -> bool {
        matches!(self, Self::Rejected | Self::Partially)
    }
}

// === impl Ack ===

impl Ack {
    pub(crate) fn is_rejection(&self) -> bool {
        self.status.is_some_and(AckStatus::is_rejection)
    }
}

// === impl AckedDocument ===

impl AckedDocument {
    pub(crate) fn is_rejection(&self) -> bool {
        self.status.is_some_and(AckStatus::is_rejection)
    }
}
