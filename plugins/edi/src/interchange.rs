//! What is open in an interchange of segments, and what its trailers say of it.

use crate::{
    EdiDocument, EdiWarning, EventLists, FunctionalGroup, Interchange, WarningValue,
    elements::Elements,
};

/// An interchange while it is read. A file may have millions of groups and documents, of which few are listed:
/// for the others no text is made.
#[derive(Default)]
pub(crate) struct OpenInterchange {
    pub(crate) interchange: Interchange,
    /// As it is written in the header.
    control_number: Vec<u8>,
    is_listed: bool,
    group: Option<OpenGroup>,
    /// Segments of the document that is open.
    document: Option<u64>,
    /// Its number, as it is written.
    document_number: Vec<u8>,
}

struct OpenGroup {
    /// In the list, if it is listed.
    index: Option<usize>,
    /// As it is written.
    control_number: Vec<u8>,
    version: Option<String>,
    /// And packages.
    documents: u64,
}

/// A trailer's count and control number: in which elements they stand, and what they are called.
pub(crate) struct Trailer {
    pub(crate) tag: &'static str,
    pub(crate) count: (usize, &'static str),
    pub(crate) control_number: (usize, &'static str),
}

// === impl Trailer ===

impl Trailer {
    /// The count first, as in X12 and batch EDIFACT.
    pub(crate) const fn new(tag: &'static str, count: &'static str, number: &'static str) -> Self {
        Self { tag, count: (1, count), control_number: (2, number) }
    }
}

// === impl OpenInterchange ===

impl OpenInterchange {
    /// Takes what the header says. `control_number`: as it is written.
    pub(crate) fn open(
        &mut self,
        interchange: Interchange,
        control_number: &[u8],
        lists: &mut EventLists,
    ) {
        self.is_listed = lists.admit_interchange(&interchange);
        self.interchange = interchange;
        self.control_number = control_number.trim_ascii_end().to_vec();
    }

    /// Segments of the document that is open have passed.
    pub(crate) fn count_segments(&mut self, count: u64) {
        if let Some(segments) = &mut self.document {
            *segments += count;
        }
    }

    /// Whether a group is worth its text: its own, or its documents'.
    pub(crate) fn may_list_group(&self, lists: &EventLists) -> bool {
        self.is_listed && (lists.has_group_room() || lists.has_document_room())
    }

    /// Whether a document is worth its text.
    pub(crate) fn may_list_document(&self, lists: &EventLists) -> bool {
        self.is_listed && lists.has_document_room()
    }

    pub(crate) fn has_document(&self) -> bool {
        self.document.is_some()
    }

    /// The version of the group that is open.
    pub(crate) fn group_version(&self) -> Option<String> {
        self.group.as_ref()?.version.clone()
    }

    /// `group`: if it may be listed. `trailers`: of a document and of a group, which are missing if one is open.
    pub(crate) fn open_group(
        &mut self,
        control_number: &[u8],
        group: Option<FunctionalGroup>,
        trailers: [&Trailer; 2],
        lists: &mut EventLists,
    ) {
        self.abandon_document(trailers[0], lists);
        if self.group.take().is_some() {
            self.warn_of_missing("missing-trailer", trailers[1], lists);
        }
        let Interchange { groups, group_count, .. } = &mut self.interchange;
        *group_count += 1;
        let version = group.as_ref().and_then(|group| group.version.clone());
        let group = group.filter(|group| lists.admit_group(group));
        self.group = Some(OpenGroup {
            index: group.is_some().then_some(groups.len()),
            control_number: control_number.trim_ascii_end().to_vec(),
            version,
            documents: 0,
        });
        groups.extend(group);
    }

    pub(crate) fn open_document(
        &mut self,
        control_number: &[u8],
        trailer: &Trailer,
        lists: &mut EventLists,
    ) {
        self.abandon_document(trailer, lists);
        self.interchange.document_count += 1;
        if let Some(group) = &mut self.group {
            group.documents += 1;
        }
        self.document = Some(1);
        self.document_number.clear();
        self.document_number.extend_from_slice(control_number.trim_ascii_end());
    }

    /// Lists the document that is open, if there is room for it.
    pub(crate) fn list_document(&mut self, mut document: EdiDocument, lists: &mut EventLists) {
        document.group = self.group.as_ref().and_then(|group| group.index);
        if lists.admit_document(&document) {
            self.interchange.documents.push(document);
        }
    }

    pub(crate) fn count_package(&mut self) {
        self.interchange.package_count += 1;
        if let Some(group) = &mut self.group {
            group.documents += 1;
        }
    }

    pub(crate) fn close_document(
        &mut self,
        trailer: &Trailer,
        elements: &Elements<'_>,
        lists: &mut EventLists,
    ) {
        match self.document.take() {
            Some(segments) => {
                let number = std::mem::take(&mut self.document_number);
                self.check(trailer, "segment-count", segments, &number, elements, lists);
                self.document_number = number;
            }
            None => self.warn_of_missing("missing-header", trailer, lists),
        }
    }

    pub(crate) fn close_group(
        &mut self,
        trailer: &Trailer,
        document_trailer: &Trailer,
        elements: &Elements<'_>,
        lists: &mut EventLists,
    ) {
        self.abandon_document(document_trailer, lists);
        match self.group.take() {
            Some(group) => {
                let OpenGroup { documents, control_number, .. } = group;
                self.check(trailer, "document-count", documents, &control_number, elements, lists);
            }
            None => self.warn_of_missing("missing-header", trailer, lists),
        }
    }

    /// The trailer of all. `trailers`: as for [`Self::open_group`].
    pub(crate) fn close(
        &mut self,
        trailer: &Trailer,
        trailers: [&Trailer; 2],
        elements: &Elements<'_>,
        lists: &mut EventLists,
    ) {
        self.abandon_document(trailers[0], lists);
        if self.group.take().is_some() {
            self.warn_of_missing("missing-trailer", trailers[1], lists);
        }
        let Interchange { group_count, document_count, package_count, .. } = self.interchange;
        let (code, expected) = match group_count {
            // X12 has no documents without a group.
            0 if trailer.tag != "IEA" => ("document-count", document_count + package_count),
            groups => ("group-count", groups),
        };
        let control_number = std::mem::take(&mut self.control_number);
        self.check(trailer, code, expected, &control_number, elements, lists);
        self.interchange.complete = true;
    }

    /// The interchange, if it is listed.
    pub(crate) fn finish(self) -> Option<Interchange> {
        self.is_listed.then_some(self.interchange)
    }

    pub(crate) fn warn(&mut self, warning: EdiWarning, lists: &mut EventLists) {
        if self.is_listed {
            lists.add_warning(&mut self.interchange, warning);
        }
    }

    /// Compares a trailer with what was counted and with the header's number, as that is written.
    pub(crate) fn check(
        &mut self,
        trailer: &Trailer,
        code: &'static str,
        expected: u64,
        control_number: &[u8],
        elements: &Elements<'_>,
        lists: &mut EventLists,
    ) {
        let (element, segment) = trailer.count;
        if elements.count(element, 0) != Some(expected) {
            let found = elements.component(element, 0).map(WarningValue::of_count);
            self.warn(EdiWarning::new(code, segment, Some(expected.into()), found), lists);
        }
        let (element, segment) = trailer.control_number;
        if elements.raw(element).trim_ascii_end() == control_number {
            return;
        }
        let (expected, found) = (elements.read(control_number), elements.component(element, 0));
        if expected == found {
            return;
        }
        let without_zeros = |number: &Option<String>| {
            number.as_deref().unwrap_or_default().trim_start_matches('0').to_owned()
        };
        let is_padding = without_zeros(&expected) == without_zeros(&found);
        let code = if is_padding { "control-number-padding" } else { "control-number" };
        let (expected, found) = (expected.as_deref(), found.as_deref());
        let warning =
            EdiWarning::new(code, segment, expected.map(Into::into), found.map(Into::into));
        self.warn(warning, lists);
    }

    fn abandon_document(&mut self, trailer: &Trailer, lists: &mut EventLists) {
        if self.document.take().is_some() {
            self.warn_of_missing("missing-trailer", trailer, lists);
        }
    }

    fn warn_of_missing(&mut self, code: &'static str, of: &Trailer, lists: &mut EventLists) {
        self.warn(EdiWarning::new(code, of.tag, None, None), lists);
    }
}
