//! What one event lists of its files: how many of each, and in how many bytes of JSON.

use std::io::{self, Write};

use serde::Serialize;

use crate::{
    Ack, AckedDocument, DocumentCount, EdiDocument, EdiWarning, FunctionalGroup, Interchange,
    Standard,
};

/// Interchanges that an event lists.
const INTERCHANGES: usize = 100;
/// Groups that an event lists.
const GROUPS: usize = 1_000;
/// Documents that an event lists, those within acknowledgements included.
const DOCUMENTS: usize = 1_000;
/// Warnings that an event lists.
const WARNINGS: usize = 100;
/// Types of documents that are counted, and bytes of JSON for them.
const TYPES: usize = 100;
const TYPE_ROOM: usize = 8 * 1024;
/// Bytes of JSON for warnings.
const WARNING_ROOM: usize = 16 * 1024;
/// Acknowledgements that an event lists.
const ACKS: usize = 1_000;
/// Bytes of JSON by which an interchange may grow after it is admitted: counts, `standard`, `duplicateOf`.
const INTERCHANGE_SLACK: usize = 270;
/// As much for an acknowledgement: `messageEventId`.
const ACK_SLACK: usize = 60;

/// What the files of one event may still list, and what they acknowledge.
///
/// The files of an event are scanned one after the other, with the same lists.
#[derive(Debug)]
pub struct EventLists {
    interchanges: usize,
    groups: usize,
    documents: usize,
    warnings: usize,
    /// Bytes of JSON for interchanges, groups and documents. None is left once something does not fit, so that
    /// no text is made in vain.
    room: usize,
    /// And for warnings, which matter more than the last documents.
    warning_room: usize,
    /// And for these, which are part of another event.
    ack_room: usize,
    acks: Vec<Ack>,
    /// Documents within acknowledgements that are listed and not rejected.
    accepted_documents: usize,
    /// All acknowledgements, listed or not.
    ack_count: u64,
    /// All documents, listed or not.
    counts: Vec<DocumentCount>,
    types: usize,
    type_room: usize,
}

// === impl EventLists ===

impl EventLists {
    /// Bytes of JSON for all but acknowledgements, which leave the rest of an event its part of the 256 KiB.
    pub const ROOM: usize = 200 * 1024;
    /// Bytes of JSON for acknowledgements.
    pub const ACK_ROOM: usize = 240 * 1024;

    /// With so many bytes of JSON for all but acknowledgements, and for these.
    pub fn new(room: usize, ack_room: usize) -> Self {
        Self {
            interchanges: INTERCHANGES,
            groups: GROUPS,
            documents: DOCUMENTS,
            warnings: WARNINGS,
            room: room - room.min(WARNING_ROOM),
            warning_room: room.min(WARNING_ROOM),
            ack_room,
            acks: Vec::new(),
            accepted_documents: 0,
            ack_count: 0,
            counts: Vec::new(),
            types: TYPES,
            type_room: TYPE_ROOM,
        }
    }

    /// How many documents of each type there are, listed or not; of the first 100 types that have room.
    pub fn document_counts(&self) -> &[DocumentCount] {
        &self.counts
    }

    /// Counts a document by its type as it stands in the file; `text` makes text of one that is new.
    pub(crate) fn count_document(
        &mut self,
        standard: Standard,
        raw: &[u8],
        text: impl FnOnce() -> Option<String>,
    ) {
        let of = |counts: &[DocumentCount], document_type: &[u8]| {
            counts.iter().position(|known| {
                known.standard == standard && known.document_type.as_bytes() == document_type
            })
        };
        if let Some(known) = of(&self.counts, raw) {
            self.counts[known].count += 1;
            return;
        }
        let Some(document_type) = text() else { return };
        match of(&self.counts, document_type.as_bytes()) {
            Some(known) => self.counts[known].count += 1,
            None => {
                let count = DocumentCount { standard, document_type, count: 1 };
                // Its number of digits may grow.
                let length = json_length(&count) + 20;
                if admit(&mut self.types, &mut self.type_room, length) {
                    self.counts.push(count);
                }
            }
        }
    }

    /// How many acknowledgements came, listed or not.
    pub fn ack_count(&self) -> u64 {
        self.ack_count
    }

    /// What the files acknowledge, in their order; if more came than are listed, what rejects stands first.
    pub fn into_acks(mut self) -> Vec<Ack> {
        if self.ack_count > self.acks.len() as u64 {
            self.acks.sort_by_key(|ack| !ack.is_rejection());
        }
        for ack in &mut self.acks {
            ack.document_count =
                ack.document_count.filter(|&count| count > ack.documents.len() as u64);
        }
        self.acks
    }

    /// Whether one more group may be listed.
    pub(crate) fn has_group_room(&self) -> bool {
        self.groups > 0 && self.room > 0
    }

    /// Whether one more document may be listed.
    pub(crate) fn has_document_room(&self) -> bool {
        self.documents > 0 && self.room > 0
    }

    pub(crate) fn admit_interchange(&mut self, interchange: &Interchange) -> bool {
        self.interchanges > 0
            && self.room > 0
            && admit_or_close(
                &mut self.interchanges,
                &mut self.room,
                json_length(interchange) + INTERCHANGE_SLACK,
            )
    }

    pub(crate) fn admit_group(&mut self, group: &FunctionalGroup) -> bool {
        self.has_group_room()
            && admit_or_close(&mut self.groups, &mut self.room, json_length(group) + 1)
    }

    pub(crate) fn admit_document(&mut self, document: &EdiDocument) -> bool {
        self.has_document_room()
            && admit_or_close(&mut self.documents, &mut self.room, json_length(document) + 1)
    }

    pub(crate) fn add_warning(&mut self, interchange: &mut Interchange, warning: EdiWarning) {
        let warnings = &mut interchange.warnings;
        let count = interchange.warning_count.unwrap_or(warnings.len() as u64) + 1;
        if self.warnings > 0
            && admit(&mut self.warnings, &mut self.warning_room, json_length(&warning) + 1)
        {
            warnings.push(warning);
        }
        interchange.warning_count = (count > warnings.len() as u64).then_some(count);
    }

    /// Lists a document of an acknowledgement that is still read. A rejected one takes the place of an
    /// accepted one, if there is no other.
    pub(crate) fn add_acked_document(&mut self, ack: &mut Ack, document: AckedDocument) {
        ack.document_count = Some(ack.document_count.unwrap_or(0) + 1);
        let is_rejection = document.is_rejection();
        if self.documents == 0 && !is_rejection {
            return;
        }
        let length = json_length(&document) + 1;
        while !admit(&mut self.documents, &mut self.ack_room, length) {
            if !(is_rejection && self.remove_accepted_document(ack)) {
                return;
            }
        }
        self.accepted_documents += usize::from(!is_rejection);
        ack.documents.push(document);
    }

    /// Lists an acknowledgement. One that rejects takes the place of others, if there is no other.
    pub(crate) fn add_ack(&mut self, mut ack: Ack) {
        self.ack_count += 1;
        let length = length_without_documents(&mut ack);
        while self.acks.len() >= ACKS || self.ack_room < length {
            let other = self.acks.iter().rposition(|other| !other.is_rejection());
            let Some(other) = other.filter(|_| ack.is_rejection()) else {
                return self.release_documents(&ack);
            };
            let mut other = self.acks.remove(other);
            self.ack_room += length_without_documents(&mut other);
            self.release_documents(&other);
        }
        self.ack_room -= length;
        self.acks.push(ack);
    }

    fn remove_accepted_document(&mut self, open: &mut Ack) -> bool {
        if self.accepted_documents == 0 {
            return false;
        }
        for ack in std::iter::once(open).chain(self.acks.iter_mut().rev()) {
            if let Some(at) = ack.documents.iter().rposition(|document| !document.is_rejection()) {
                let document = ack.documents.remove(at);
                self.release_document(&document);
                return true;
            }
        }
        false
    }

    fn release_documents(&mut self, ack: &Ack) {
        for document in &ack.documents {
            self.release_document(document);
        }
    }

    fn release_document(&mut self, document: &AckedDocument) {
        self.documents += 1;
        self.ack_room += json_length(document) + 1;
        self.accepted_documents -= usize::from(!document.is_rejection());
    }
}

impl Default for EventLists {
    fn default() -> Self {
        Self::new(Self::ROOM, Self::ACK_ROOM)
    }
}

/// Takes one of those left and its room. `false`: there is not both.
fn admit(left: &mut usize, room: &mut usize, length: usize) -> bool {
    match (left.checked_sub(1), room.checked_sub(length)) {
        (Some(fewer), Some(less)) => {
            (*left, *room) = (fewer, less);
            true
        }
        _ => false,
    }
}

fn admit_or_close(left: &mut usize, room: &mut usize, length: usize) -> bool {
    let is_admitted = admit(left, room, length);
    if !is_admitted {
        *room = 0;
    }
    is_admitted
}

/// Those of an acknowledgement are admitted one by one.
fn length_without_documents(ack: &mut Ack) -> usize {
    let documents = std::mem::take(&mut ack.documents);
    let length = json_length(ack) + ACK_SLACK;
    ack.documents = documents;
    length
}

fn json_length(item: &impl Serialize) -> usize {
    let mut length = Length(0);
    // Neither these types nor the writer have an error.
    let _ = serde_json::to_writer(&mut length, item);
    length.0
}

struct Length(usize);

// === impl Length ===

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
