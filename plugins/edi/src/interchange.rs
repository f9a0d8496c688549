//! What is open in an interchange of segments, and what its trailers say of it.

use crate::{
    EdiDocument, EdiWarning, EventLists, FunctionalGroup, Interchange, WarningValue,
    elements::Elements,
};

/// An interchange while it is read.
#[derive(Default)]
pub(crate) struct OpenInterchange {
    pub(crate) interchange: Interchange,
    is_listed: bool,
    group: Option<OpenGroup>,
    document: Option<OpenDocument>,
}

struct OpenGroup {
    /// In the list, if it is listed.
    index: Option<usize>,
    control_number: Option<String>,
    version: Option<String>,
    /// And packages.
    documents: u64,
}

struct OpenDocument {
    control_number: Option<String>,
    segments: u64,
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
    /// Takes what the header says.
    pub(crate) fn open(&mut self, interchange: Interchange, lists: &mut EventLists) {
        self.is_listed = lists.admit_interchange(&interchange);
        self.interchange = interchange;
    }

    /// Segments of the document that is open have passed.
    pub(crate) fn count_segments(&mut self, count: u64) {
        if let Some(document) = &mut self.document {
            document.segments += count;
        }
    }

    pub(crate) fn has_document(&self) -> bool {
        self.document.is_some()
    }

    /// The version of the group that is open.
    pub(crate) fn group_version(&self) -> Option<String> {
        self.group.as_ref()?.version.clone()
    }

    /// `trailers`: of a document and of a group, which are missing if one is open.
    pub(crate) fn open_group(
        &mut self,
        group: FunctionalGroup,
        trailers: [&Trailer; 2],
        lists: &mut EventLists,
    ) {
        self.abandon_document(trailers[0], lists);
        if self.group.take().is_some() {
            self.warn_of_missing("missing-trailer", trailers[1], lists);
        }
        let interchange = &mut self.interchange;
        interchange.group_count += 1;
        let is_listed = self.is_listed && lists.admit_group(&group);
        self.group = Some(OpenGroup {
            index: is_listed.then_some(interchange.groups.len()),
            control_number: group.control_number.clone(),
            version: group.version.clone(),
            documents: 0,
        });
        if is_listed {
            interchange.groups.push(group);
        }
    }

    pub(crate) fn open_document(
        &mut self,
        mut document: EdiDocument,
        trailer: &Trailer,
        lists: &mut EventLists,
    ) {
        self.abandon_document(trailer, lists);
        self.interchange.document_count += 1;
        if let Some(group) = &mut self.group {
            group.documents += 1;
            document.group = group.index;
        }
        let control_number = document.control_number.clone();
        self.document = Some(OpenDocument { control_number, segments: 1 });
        if self.is_listed && lists.admit_document(&document) {
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
            Some(document) => {
                let OpenDocument { segments, control_number } = document;
                self.check(
                    trailer,
                    "segment-count",
                    segments,
                    control_number.as_deref(),
                    elements,
                    lists,
                );
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
                self.check(
                    trailer,
                    "document-count",
                    documents,
                    control_number.as_deref(),
                    elements,
                    lists,
                );
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
        let control_number = self.interchange.control_number.clone();
        self.check(trailer, code, expected, control_number.as_deref(), elements, lists);
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

    /// Compares a trailer with what was counted and with the header's number.
    pub(crate) fn check(
        &mut self,
        trailer: &Trailer,
        code: &'static str,
        expected: u64,
        control_number: Option<&str>,
        elements: &Elements<'_>,
        lists: &mut EventLists,
    ) {
        let expected = WarningValue::Number(expected);
        let (element, segment) = trailer.count;
        let found = elements.component(element, 0).map(WarningValue::of_count);
        if found.as_ref() != Some(&expected) {
            self.warn(EdiWarning::new(code, segment, Some(expected), found), lists);
        }
        let (element, segment) = trailer.control_number;
        let found = elements.component(element, 0);
        let found = found.as_deref();
        if found != control_number {
            let without_zeros = |number: Option<&str>| {
                number.unwrap_or_default().trim_start_matches('0').to_owned()
            };
            let is_padding = without_zeros(found) == without_zeros(control_number);
            let code = if is_padding { "control-number-padding" } else { "control-number" };
            let (expected, found) = (control_number.map(Into::into), found.map(Into::into));
            let warning = EdiWarning::new(code, segment, expected, found);
            self.warn(warning, lists);
        }
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
