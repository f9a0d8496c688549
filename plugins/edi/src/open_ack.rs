//! An acknowledgement while its segments are read.

use crate::{
    Ack, AckStatus, AckedDocument, AckedGroup, AckedInterchange, EventLists, RejectedGroup,
    elements::Elements, local_time::local_time,
};

/// Groups of a CONTRL that are kept.
const MAX_REJECTED_GROUPS: usize = 20;

/// A 997, 999 or CONTRL that is open.
#[derive(Default)]
pub(crate) struct OpenAck {
    ack: Option<Ack>,
    /// Of X12: its AK2 has come, and its AK5 has not.
    document: Option<AckedDocument>,
    has_rejection: bool,
}

// === impl OpenAck ===

impl OpenAck {
    /// AK1: what follows is of this group.
    pub(crate) fn open_group(
        &mut self,
        ack_type: &str,
        elements: &Elements<'_>,
        lists: &mut EventLists,
    ) {
        self.close(lists);
        let group = AckedGroup {
            functional_id: elements.text(1),
            control_number: elements.text(2),
            version: elements.text(3),
            ..AckedGroup::default()
        };
        let ack_type = ack_type.to_owned();
        self.ack = Some(Ack { ack_type, group: Some(group), ..Ack::default() });
    }

    /// AK2.
    pub(crate) fn open_document(&mut self, elements: &Elements<'_>, lists: &mut EventLists) {
        self.close_document(lists);
        self.document = Some(AckedDocument {
            document_type: elements.text(1),
            control_number: elements.text(2),
            ..AckedDocument::default()
        });
    }

    /// AK5 or IK5.
    pub(crate) fn judge_document(&mut self, elements: &Elements<'_>, lists: &mut EventLists) {
        if let Some(document) = &mut self.document {
            document.code = elements.text(1);
            document.status = document.code.as_deref().and_then(AckStatus::of_x12);
            document.errors = elements.texts(2..=6);
        }
        self.close_document(lists);
    }

    /// AK9.
    pub(crate) fn judge_group(&mut self, elements: &Elements<'_>, lists: &mut EventLists) {
        self.close_document(lists);
        let Some(ack) = &mut self.ack else { return };
        let group = ack.group.get_or_insert_default();
        group.status = elements.text(1);
        (group.included, group.received, group.accepted) =
            (elements.count(2, 0), elements.count(3, 0), elements.count(4, 0));
        group.errors = elements.texts(5..=9);
        ack.status = group.status.as_deref().and_then(AckStatus::of_x12);
        self.close(lists);
    }

    /// UCI: what follows is of this interchange.
    pub(crate) fn open_interchange(&mut self, elements: &Elements<'_>, lists: &mut EventLists) {
        self.close(lists);
        let interchange = AckedInterchange {
            control_number: elements.text(1),
            sender: elements.party(2),
            receiver: elements.party(3),
            code: elements.text(4),
            errors: elements.texts(5..=5),
            ..AckedInterchange::default()
        };
        self.ack = Some(Ack {
            ack_type: "CONTRL".to_owned(),
            status: interchange.code.as_deref().and_then(AckStatus::of_edifact),
            interchange: Some(interchange),
            ..Ack::default()
        });
    }

    /// UCM.
    pub(crate) fn add_message(&mut self, elements: &Elements<'_>, lists: &mut EventLists) {
        let Some(ack) = &mut self.ack else { return };
        let code = elements.text(3);
        let document = AckedDocument {
            document_type: elements.component(2, 0),
            control_number: elements.text(1),
            status: code.as_deref().and_then(AckStatus::of_edifact),
            code,
            errors: elements.texts(4..=4),
        };
        self.has_rejection |= document.is_rejection();
        lists.add_acked_document(ack, document);
    }

    /// UCF.
    pub(crate) fn add_group(&mut self, elements: &Elements<'_>) {
        let Some(ack) = &mut self.ack else { return };
        let code = elements.text(4);
        if !code.as_deref().and_then(AckStatus::of_edifact).is_some_and(AckStatus::is_rejection) {
            return;
        }
        self.has_rejection = true;
        if ack.rejected_groups.len() < MAX_REJECTED_GROUPS {
            let (control_number, errors) = (elements.text(1), elements.texts(5..=5));
            ack.rejected_groups.push(RejectedGroup { control_number, code, errors });
        }
    }

    /// Its message ends, or the next acknowledgement begins.
    pub(crate) fn close(&mut self, lists: &mut EventLists) {
        // At each trailer of a file that acknowledges nothing.
        if self.ack.is_none() && self.document.is_none() {
            return;
        }
        self.close_document(lists);
        let has_rejection = std::mem::take(&mut self.has_rejection);
        let Some(mut ack) = self.ack.take() else { return };
        let is_accepted =
            matches!(ack.status, Some(AckStatus::Accepted | AckStatus::AcceptedWithErrors));
        if ack.interchange.is_some() && is_accepted && has_rejection {
            ack.status = Some(AckStatus::Partially);
        }
        lists.add_ack(ack);
    }

    fn close_document(&mut self, lists: &mut EventLists) {
        if let (Some(ack), Some(document)) = (&mut self.ack, self.document.take()) {
            lists.add_acked_document(ack, document);
        }
    }
}

/// TA1, which is one by itself.
pub(crate) fn interchange_ack(elements: &Elements<'_>) -> Ack {
    let code = elements.text(4);
    Ack {
        ack_type: "TA1".to_owned(),
        status: code.as_deref().and_then(AckStatus::of_x12),
        interchange: Some(AckedInterchange {
            control_number: elements.text(1),
            prepared_at: local_time(elements.raw(2), elements.raw(3)),
            code,
            note: elements.text(5),
            ..AckedInterchange::default()
        }),
        ..Ack::default()
    }
}
