//! The filter of a rule on the EDI documents of a message.

use std::{convert::Infallible, fmt, str::FromStr};

use as2hook_as2::{
    Decoded,
    edi::{DocumentCount, Standard},
};

/// A type of document: `850`, `ORDERS`, the local name of an XML root; with its standard `EDIFACT:ORDERS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentType {
    /// `None`: of any standard.
    pub standard: Option<Standard>,
    /// As it is written in documents: `850` is not `0850`.
    pub name: String,
}

const STANDARDS: [Standard; 3] = [Standard::X12, Standard::Edifact, Standard::Xml];

// === impl DocumentType ===

impl DocumentType {
    /// Whether a document could be of both.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let same = |(own, other)| own == other;
        self.name == other.name && self.standard.zip(other.standard).is_none_or(same)
    }
}

impl FromStr for DocumentType {
    type Err = Infallible;

    /// Another word before a colon is a part of the name.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let of = |standard: &Standard| {
            let name = text.strip_prefix(standard.as_str())?.strip_prefix(':')?;
            Some(Self { standard: Some(*standard), name: name.to_owned() })
        };
        let own = STANDARDS.iter().find_map(of);
        Ok(own.unwrap_or_else(|| Self { standard: None, name: text.to_owned() }))
    }
}

impl fmt::Display for DocumentType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(standard) = self.standard {
            write!(f, "{}:", standard.as_str())?;
        }
        f.write_str(&self.name)
    }
}

/// Returns the types of a message's documents in their order, and the roots of those that an SBDH gives another type.
pub(crate) fn found_in(decoded: &Decoded) -> Vec<DocumentType> {
    let of =
        |standard, name: &String| DocumentType { standard: Some(standard), name: name.clone() };
    let counts = decoded.documents.iter();
    let mut found: Vec<_> = counts
        .map(|DocumentCount { standard, document_type, .. }| of(*standard, document_type))
        .collect();
    let interchanges = decoded.attachments.iter().flat_map(|attachment| &attachment.edi);
    let documents = interchanges.flat_map(|edi| &edi.interchanges).flat_map(|all| &all.documents);
    for root in documents.filter_map(|document| document.xml.as_ref()) {
        let root = of(Standard::Xml, &root.root);
        if !found.contains(&root) {
            found.push(root);
        }
    }
    found
}
