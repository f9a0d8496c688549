//! What the segments of X12 mean: ISA, GS, ST, SE, GE, IEA, and the acknowledgements TA1, 997 and 999.

use crate::{
    EdiDocument, EventLists, FunctionalGroup, Interchange, Party, Standard,
    elements::Elements,
    envelopes::{Contents, SegmentEffect, begins_header, keep_if, tag_of},
    interchange::Trailer,
    local_time::local_time,
    open_ack::interchange_ack,
    segments::SegmentRole,
};

/// An interchange of X12.
pub(crate) struct X12 {
    /// ISA09, whose century a GS04 may say.
    date: Vec<u8>,
    /// ISA10, until then.
    time: Option<Vec<u8>>,
    /// Whether ISX sets a release character (from version 00704 on).
    has_release: bool,
    /// The transaction set that is open, if it acknowledges groups.
    ack_type: Option<&'static str>,
}

const SE: Trailer = Trailer::new("SE", "SE01", "SE02");
const GE: Trailer = Trailer::new("GE", "GE01", "GE02");
const IEA: Trailer = Trailer::new("IEA", "IEA01", "IEA02");

// === impl X12 ===

impl X12 {
    /// What the tags that matter begin with.
    pub(crate) const BEGINS: &[&[u8; 2]] =
        &[b"IS", b"IE", b"GS", b"GE", b"ST", b"SE", b"TA", b"AK", b"IK", b"BI", b"BD"];

    /// By an ISA.
    pub(crate) fn open(
        isa: &Elements<'_>,
        contents: &mut Contents,
        lists: &mut EventLists,
    ) -> Self {
        let party =
            |element| Some(Party { qualifier: isa.text(element), id: isa.text(element + 1) });
        let (date, time) = (isa.raw(9), isa.raw(10));
        let usage = isa.text(15);
        let version = isa.text(12);
        let has_release = version.as_deref().is_some_and(|version| version >= "00704");
        let interchange = Interchange {
            control_number: isa.text(13),
            sender: party(5),
            receiver: party(7),
            version,
            test: match usage.as_deref() {
                Some("T") => Some(true),
                Some("P" | "I") => Some(false),
                _ => None,
            },
            usage,
            prepared_at: local_time(date, time),
            ..Interchange::default()
        };
        contents.open.open(interchange, isa.raw(13), lists);
        Self { date: date.to_vec(), time: Some(time.to_vec()), has_release, ack_type: None }
    }

    pub(crate) fn role(&self, bytes: &[u8], element: u8) -> SegmentRole {
        match tag_of(bytes, element) {
            Some(b"ST" | b"SE" | b"GS" | b"GE" | b"IEA" | b"TA1") => SegmentRole::Keep,
            Some(b"AK1" | b"AK2" | b"AK5" | b"IK5" | b"AK9") => keep_if(self.ack_type.is_some()),
            Some(b"ISX") => keep_if(self.has_release),
            Some(b"BIN") => SegmentRole::Binary(1),
            Some(b"BDS") => SegmentRole::Binary(2),
            _ if begins_header(bytes, b"ISA") => SegmentRole::Header,
            _ => SegmentRole::Skip,
        }
    }

    /// Whether a segment that ends with the file is all there: that it is the trailer with the header's
    /// number.
    pub(crate) fn is_whole(elements: &Elements<'_>, control_number: Option<&str>) -> bool {
        elements.tag() == b"IEA" && elements.text(2).as_deref() == control_number
    }

    pub(crate) fn take(
        &mut self,
        elements: &Elements<'_>,
        contents: &mut Contents,
        lists: &mut EventLists,
    ) -> SegmentEffect {
        let tag = elements.tag();
        if !matches!(tag, b"ST" | b"SE" | b"GS" | b"GE" | b"IEA") {
            return self.take_other(tag, elements, contents, lists);
        }
        let Contents { open, ack } = contents;
        ack.close(lists);
        self.ack_type = None;
        match tag {
            b"GS" => {
                self.correct_century(elements.raw(4), &mut open.interchange);
                let party = |id| Some(Party { qualifier: None, id: Some(id) });
                let group = open.may_list_group(lists).then(|| FunctionalGroup {
                    functional_id: elements.text(1),
                    control_number: elements.text(6),
                    version: elements.text(8),
                    sender: elements.text(2).and_then(party),
                    receiver: elements.text(3).and_then(party),
                });
                open.open_group(elements.raw(6), group, [&SE, &GE], lists);
            }
            b"ST" => {
                self.ack_type = match elements.raw(1) {
                    b"997" => Some("997"),
                    b"999" => Some("999"),
                    _ => None,
                };
                lists.count_document(Standard::X12, elements.raw(1), || elements.text(1));
                open.open_document(elements.raw(2), &SE, lists);
                if open.may_list_document(lists) {
                    let document = EdiDocument {
                        document_type: elements.text(1),
                        version: elements.text(3).or_else(|| open.group_version()),
                        control_number: elements.text(2),
                        ..EdiDocument::default()
                    };
                    open.list_document(document, lists);
                }
            }
            b"SE" => open.close_document(&SE, elements, lists),
            b"GE" => open.close_group(&GE, &SE, elements, lists),
            b"IEA" => {
                open.close(&IEA, [&SE, &GE], elements, lists);
                return SegmentEffect::Trailer;
            }
            _ => {}
        }
        SegmentEffect::None
    }

    /// A segment that is no envelope.
    fn take_other(
        &self,
        tag: &[u8],
        elements: &Elements<'_>,
        contents: &mut Contents,
        lists: &mut EventLists,
    ) -> SegmentEffect {
        let Contents { open, ack } = contents;
        match (tag, self.ack_type) {
            (b"AK1", Some(ack_type)) => ack.open_group(ack_type, elements, lists),
            (b"AK2", _) => ack.open_document(elements, lists),
            (b"AK5" | b"IK5", _) => ack.judge_document(elements, lists),
            (b"AK9", _) => ack.judge_group(elements, lists),
            (b"TA1", _) if !open.has_document() => {
                open.interchange.interchange_acks += 1;
                lists.add_ack(interchange_ack(elements));
            }
            (b"ISX", _) => {
                if let &[release] = elements.raw(1) {
                    return SegmentEffect::Release(release);
                }
            }
            _ => {}
        }
        SegmentEffect::None
    }

    /// ISA09 has two digits of the year, GS04 may have four.
    fn correct_century(&mut self, date: &[u8], interchange: &mut Interchange) {
        if let Some(time) = self.time.take()
            && date.len() == 8
            && date.ends_with(&self.date)
        {
            interchange.prepared_at = local_time(date, &time);
        }
    }
}
