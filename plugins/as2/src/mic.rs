//! The message integrity check: which algorithms, how it is written, and which forms of a message it may
//! be over (RFC 4130 section 7.3).

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::{Deserialize, Serialize};

use crate::{Headers, digest::Digest};

/// What of a message a MIC is over. Servers agree about it where a message is signed or encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MicForm {
    /// The content with its MIME headers; what was signed.
    Entity,
    /// The content as it was transferred, without headers.
    Content,
    /// The content after decoding its Content-Transfer-Encoding.
    ContentDecoded,
}

/// The MIC of one form of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageMic {
    /// What it is over.
    pub form: MicForm,
    /// `<base64>, sha-256`.
    pub mic: String,
    /// The message did not offer its algorithm, but some servers use it nevertheless.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unoffered: bool,
}

/// How an MDN's MIC stands towards those of its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MicComparison {
    /// It is the MIC of this form.
    Same(MicForm),
    /// It is another, cannot be read although its algorithm is known, or is by a known algorithm that was
    /// not offered.
    Different,
    /// The message's is not known, or none by this algorithm.
    Unknown,
}

/// Algorithms of one message that are computed.
pub(crate) const MAX_ALGORITHMS: usize = 4;

/// What servers use that do not heed what is offered. SHA-1 is what RFC 4130 section 7.3 falls back to.
pub(crate) const HABITUAL: [Digest; 2] = [Digest::Sha1, Digest::Sha256];

/// Not every server pads.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Compares an MDN's `Received-Content-MIC` with the MICs of its message, whatever its spelling.
pub fn compare(ours: &[MessageMic], theirs: &str) -> MicComparison {
    let Some(usual) = ours.first() else { return MicComparison::Unknown };
    let usual_algorithm = Parsed::from(usual.mic.as_str()).algorithm;
    let theirs = Parsed::from(theirs);
    let all = ours.iter().map(|own| (own, Parsed::from(own.mic.as_str())));
    let alike: Vec<_> = all
        .filter(|(_, own)| match theirs.algorithm {
            Some(algorithm) => own.algorithm == Some(algorithm),
            None => own.sum.as_ref().map(Vec::len) == theirs.sum.as_ref().map(Vec::len),
        })
        .collect();
    if theirs.sum.is_some()
        && let Some((own, _)) = alike.iter().find(|(_, own)| own.sum == theirs.sum)
    {
        return MicComparison::Same(own.form);
    }
    let is_readable = theirs.is_readable();
    let offered = ours.iter().filter(|own| !own.unoffered).count();
    let is_decided = match alike.first() {
        // In another form it may be right.
        Some((own, _)) if own.unoffered => {
            let forms = ours
                .iter()
                .filter(|own| Parsed::from(own.mic.as_str()).algorithm == usual_algorithm);
            alike.len() >= forms.count()
        }
        Some(_) => true,
        // It is to be by an algorithm that was offered (RFC 4130 section 7.4.3). Each of those is here while
        // there are fewer than can be.
        None => {
            let is_habit = theirs.algorithm.is_some_and(|by| HABITUAL.contains(&by));
            !is_habit && (1..MAX_ALGORITHMS).contains(&offered)
        }
    };
    match theirs.algorithm {
        Some(_) if is_decided || !is_readable => MicComparison::Different,
        None if !theirs.has_other_algorithm && is_readable && is_decided && !alike.is_empty() => {
            MicComparison::Different
        }
        Some(_) | None => MicComparison::Unknown,
    }
}

/// Whether an MDN's `Received-Content-MIC` has the value of a digest.
pub fn is_readable(theirs: &str) -> bool {
    Parsed::from(theirs).is_readable()
}

/// The supported algorithms that the sender asks for in `signed-receipt-micalg`, the preferred one
/// first. Whatever stands where a separator would: `="optional", "sha1"`, `; optional sha-256`.
pub(crate) fn requested(headers: &Headers) -> Vec<Digest> {
    let mut all = Vec::new();
    for field in headers.all("disposition-notification-options") {
        let field = String::from_utf8_lossy(field).to_ascii_lowercase();
        let Some((_, list)) = field.split_once("signed-receipt-micalg") else { continue };
        let list = list.split("signed-receipt-protocol").next().unwrap_or_default();
        for word in list.split([',', ';', '=', '"', '\'']) {
            match Digest::from_name(word) {
                Some(digest) => all.push(digest),
                None => all.extend(word.split_whitespace().filter_map(Digest::from_name)),
            }
        }
    }
    let mut unique: Vec<Digest> = Vec::new();
    for digest in all {
        if unique.len() < MAX_ALGORITHMS && !unique.contains(&digest) {
            unique.push(digest);
        }
    }
    unique
}

/// `<base64>, sha-256`.
pub(crate) fn format(digest: Digest, sum: &[u8]) -> String {
    format!("{}, {}", BASE64.encode(sum), digest.name())
}

/// A MIC taken apart.
struct Parsed {
    /// `None`: it cannot be read.
    sum: Option<Vec<u8>>,
    algorithm: Option<Digest>,
    /// An algorithm is named that is not known.
    has_other_algorithm: bool,
}

// === impl Parsed ===

impl Parsed {
    fn is_readable(&self) -> bool {
        let fits = |sum: &Vec<u8>| self.algorithm.is_none_or(|by| by.length() == sum.len());
        self.sum.as_ref().is_some_and(fits)
    }
}

impl From<&str> for Parsed {
    fn from(mic: &str) -> Self {
        let mut parsed = Self { sum: None, algorithm: None, has_other_algorithm: false };
        let mic = without_comments(mic);
        let mut words: Vec<&str> = mic.split([',', ';']).collect();
        if words.len() < 2 {
            words = mic.split_whitespace().collect();
        }
        for word in words {
            let word = word.trim_matches(|c: char| c.is_whitespace() || c == '"' || c == '\'');
            if let Some(algorithm) = Digest::from_name(word) {
                parsed.algorithm.get_or_insert(algorithm);
            } else if let Some(sum) = sum(word).filter(|_| parsed.sum.is_none()) {
                parsed.sum = Some(sum);
            } else {
                parsed.has_other_algorithm |= !word.is_empty();
            }
        }
        parsed
    }
}

/// The value, if it is as long as that of a digest.
fn sum(word: &str) -> Option<Vec<u8>> {
    let plain: String = word.chars().filter(|c| !c.is_whitespace()).collect();
    let sum = BASE64.decode(plain).ok()?;
    Digest::ALL.iter().any(|digest| digest.length() == sum.len()).then_some(sum)
}

/// Without what stands in parentheses.
fn without_comments(text: &str) -> String {
    let mut depth = 0u32;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '(' => depth = depth.saturating_add(1),
            ')' => depth = depth.saturating_sub(1),
            c if depth == 0 => out.push(c),
            _ => {}
        }
    }
    out
}
