//! What the segments of EDIFACT mean: UNB, UNG, UNH and their trailers, UIB and UIH, packages, and CONTRL.

use encoding_rs::{
    Encoding, ISO_8859_2, ISO_8859_3, ISO_8859_4, ISO_8859_5, ISO_8859_6, ISO_8859_7, ISO_8859_8,
    WINDOWS_1252, WINDOWS_1254,
};

use crate::{
    EdiDocument, EdiWarning, EventLists, FunctionalGroup, Interchange, Standard,
    elements::Elements,
    envelopes::{Contents, SegmentEffect, begins_header, keep_if, tag_of},
    interchange::{OpenInterchange, Trailer},
    local_time::local_time,
    segments::SegmentRole,
};

/// An interchange of EDIFACT.
pub(crate) struct Edifact {
    /// Its separators are no standard's and not announced.
    is_guessed: bool,
    /// Its UNB or UIB was read.
    is_open: bool,
    /// The message that is open is a CONTRL.
    is_ack: bool,
    /// The reference and the length of the package that is open.
    package: Option<(Vec<u8>, u64)>,
}

const UNT: Trailer = Trailer::new("UNT", "UNT01", "UNT02");
const UNE: Trailer = Trailer::new("UNE", "UNE01", "UNE02");
const UNZ: Trailer = Trailer::new("UNZ", "UNZ01", "UNZ02");
const UNP: Trailer = Trailer::new("UNP", "UNP01", "UNP02");
const UIT: Trailer = Trailer { tag: "UIT", count: (2, "UIT02"), control_number: (1, "UIT01") };
const UIZ: Trailer = Trailer { tag: "UIZ", count: (2, "UIZ02"), control_number: (1, "UIZ01") };

// === impl Edifact ===

impl Edifact {
    /// What the tags that matter begin with.
    pub(crate) const BEGINS: &[&[u8; 2]] = &[b"UN", b"UI", b"UC"];

    pub(crate) fn new(is_guessed: bool) -> Self {
        Self { is_guessed, is_open: false, is_ack: false, package: None }
    }

    pub(crate) fn role(&self, bytes: &[u8], element: u8) -> SegmentRole {
        if [b"UNA", b"UNB", b"UIB"].iter().any(|tag| begins_header(bytes, tag)) {
            return if self.is_open { SegmentRole::Header } else { SegmentRole::Keep };
        }
        match tag_of(bytes, element) {
            Some(b"UNG" | b"UNH" | b"UNT" | b"UNE" | b"UNZ" | b"UNO" | b"UNP") => SegmentRole::Keep,
            Some(b"UIH" | b"UIT" | b"UIZ") => SegmentRole::Keep,
            Some(b"UCI" | b"UCF" | b"UCM") => keep_if(self.is_ack),
            _ => SegmentRole::Skip,
        }
    }

    /// Whether a segment that ends with the file is taken: the header, and a trailer with its number.
    pub(crate) fn is_whole(&self, elements: &Elements<'_>, control_number: Option<&str>) -> bool {
        match elements.tag() {
            b"UNB" | b"UIB" => !self.is_open,
            b"UNZ" => elements.text(2).as_deref() == control_number,
            b"UIZ" => {
                elements.component(1, 0).as_deref() == control_number && elements.text(2).is_some()
            }
            _ => false,
        }
    }

    pub(crate) fn take(
        &mut self,
        elements: &Elements<'_>,
        contents: &mut Contents,
        lists: &mut EventLists,
    ) -> SegmentEffect {
        let Contents { open, ack } = contents;
        match elements.tag() {
            b"UCI" => ack.open_interchange(elements, lists),
            b"UCF" => ack.add_group(elements),
            b"UCM" => ack.add_message(elements, lists),
            tag => {
                ack.close(lists);
                self.is_ack = false;
                return self.take_envelope(tag, elements, open, lists);
            }
        }
        SegmentEffect::None
    }

    fn take_envelope(
        &mut self,
        tag: &[u8],
        elements: &Elements<'_>,
        open: &mut OpenInterchange,
        lists: &mut EventLists,
    ) -> SegmentEffect {
        match tag {
            b"UNB" | b"UIB" => {
                let charset = charset(elements);
                let elements = elements.with_charset(charset);
                let (interchange, control_number) = match tag {
                    b"UNB" => (batch(&elements), elements.raw_component(5, 0)),
                    _ => (interactive(&elements), elements.raw_component(2, 0)),
                };
                open.open(interchange, control_number, lists);
                if self.is_guessed {
                    open.warn(EdiWarning::new("separators", "UNA", None, None), lists);
                }
                self.is_open = true;
                return SegmentEffect::Charset(charset);
            }
            b"UNG" => {
                let group = open.may_list_group(lists).then(|| FunctionalGroup {
                    functional_id: elements.text(1),
                    control_number: elements.text(5),
                    version: elements.components(7, &[0, 1, 2]),
                    sender: elements.party(2),
                    receiver: elements.party(3),
                });
                open.open_group(elements.raw(5), group, [&UNT, &UNE], lists);
            }
            b"UNH" => {
                let raw = elements.raw_component(2, 0);
                self.is_ack = raw == b"CONTRL";
                lists.count_document(Standard::Edifact, raw, || elements.component(2, 0));
                open.open_document(elements.raw(1), &UNT, lists);
                if open.may_list_document(lists) {
                    let document = EdiDocument {
                        document_type: elements.component(2, 0),
                        version: elements.components(2, &[1, 2, 3, 4]),
                        control_number: elements.text(1),
                        ..EdiDocument::default()
                    };
                    open.list_document(document, lists);
                }
            }
            b"UIH" => {
                let raw = elements.raw_component(1, 0);
                lists.count_document(Standard::Edifact, raw, || elements.component(1, 0));
                open.open_document(elements.raw(2), &UIT, lists);
                if open.may_list_document(lists) {
                    let document = EdiDocument {
                        document_type: elements.component(1, 0),
                        // 0113 stands before 0051 here.
                        version: elements.components(1, &[1, 2, 4, 5]),
                        control_number: elements.text(2),
                        ..EdiDocument::default()
                    };
                    open.list_document(document, lists);
                }
            }
            b"UNT" => open.close_document(&UNT, elements, lists),
            b"UIT" => open.close_document(&UIT, elements, lists),
            b"UNE" => open.close_group(&UNE, &UNT, elements, lists),
            b"UNO" => {
                open.count_package();
                // S022: 0810, the length in octets, and 0814, the segments before the object.
                self.package =
                    elements.count(4, 0).map(|length| (elements.raw(1).to_vec(), length));
                if let Some((_, length)) = self.package {
                    let segments = elements.count(4, 1).unwrap_or(0);
                    return SegmentEffect::Object { segments, length };
                }
            }
            b"UNP" => {
                if let Some((reference, length)) = self.package.take() {
                    open.check(&UNP, "package-length", length, &reference, elements, lists);
                }
            }
            b"UNZ" | b"UIZ" => {
                let trailers = if tag == b"UNZ" { [&UNT, &UNE] } else { [&UIT, &UNE] };
                open.close(if tag == b"UNZ" { &UNZ } else { &UIZ }, trailers, elements, lists);
                return SegmentEffect::Trailer;
            }
            _ => {}
        }
        SegmentEffect::None
    }
}

fn batch(unb: &Elements<'_>) -> Interchange {
    Interchange {
        control_number: unb.component(5, 0),
        sender: unb.party(2),
        receiver: unb.party(3),
        prepared_at: local_time(unb.raw_component(4, 0), unb.raw_component(4, 1)),
        ..service(unb, 11)
    }
}

fn interactive(uib: &Elements<'_>) -> Interchange {
    Interchange {
        control_number: uib.component(2, 0),
        sender: uib.party(6),
        receiver: uib.party(7),
        prepared_at: local_time(uib.raw_component(8, 0), uib.raw_component(8, 1)),
        interactive: true,
        ..service(uib, 10)
    }
}

/// What UNB and UIB have alike. `test`: where the test indicator (0035) stands; all its values but 0 are
/// of tests.
fn service(header: &Elements<'_>, test: usize) -> Interchange {
    let usage = header.text(test);
    Interchange {
        version: header.components(1, &[0, 1]),
        test: Some(usage.as_deref().is_some_and(|usage| usage != "0")),
        usage,
        ..Interchange::default()
    }
}

/// By the syntax identifier (0001). What is UTF-8 is read as such anyway.
fn charset(header: &Elements<'_>) -> &'static Encoding {
    match header.raw_component(1, 0) {
        b"UNOD" => ISO_8859_2,
        b"UNOE" => ISO_8859_5,
        b"UNOF" => ISO_8859_7,
        b"UNOG" => ISO_8859_3,
        b"UNOH" => ISO_8859_4,
        b"UNOI" => ISO_8859_6,
        b"UNOJ" => ISO_8859_8,
        b"UNOK" => WINDOWS_1254,
        _ => WINDOWS_1252,
    }
}
