//! Acknowledgements, as far as the samples have too little of them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use as2hook_edi::AckStatus::{self, Accepted, Partially, Received, Rejected};
use support::{scan, x12};

fn contrl(segments: &str) -> String {
    format!("UNB+UNOC:3+B+A+261115:1000+C1'UNH+1+CONTRL:D:3:UN'{segments}UNT+3+1'UNZ+1+C1'")
}

fn statuses(text: &str) -> Vec<Option<AckStatus>> {
    scan(text.as_bytes()).1.iter().map(|ack| ack.status).collect()
}

#[test]
fn one_file_acknowledges_several_groups() {
    let acks = x12(
        "ST*997*1~AK1*PO*1~AK9*A*1*1*1~AK1*IN*2~AK9*X*1*1*0*5~SE*6*1~ST*997*2~AK1*SH*3~SE*3*2~",
    );
    assert_eq!(statuses(&acks), [Some(Accepted), Some(Rejected), None]);
    let acks = scan(acks.as_bytes()).1;
    assert_eq!(acks[1].group.as_ref().unwrap().errors, ["5"]);
}

#[test]
fn document_without_a_verdict_has_no_status() {
    let acks =
        scan(x12("ST*999*1~AK1*HC*1~AK2*837*1~AK2*837*2~IK5*A~AK9*E*2*2*1~SE*7*1~").as_bytes()).1;
    let statuses = acks[0].documents.iter().map(|document| document.status);
    assert_eq!(statuses.collect::<Vec<_>>(), [None, Some(Accepted)]);
    assert_eq!(acks[0].status, Some(AckStatus::AcceptedWithErrors));
}

#[test]
fn contrl_has_the_status_of_its_code_and_of_what_it_rejects() {
    for (segments, status) in [
        ("UCI+1+A+B+7'", Some(Accepted)),
        ("UCI+1+A+B+8'", Some(Received)),
        ("UCI+1+A+B+4'", Some(Rejected)),
        ("UCI+1+A+B+7'UCF+9+A+B+4+12'", Some(Partially)),
        ("UCI+1+A+B+7'UCF+9+A+B+7'UCM+1+ORDERS:D+4+12'", Some(Partially)),
        ("UCI+1+A+B+4'UCM+1+ORDERS:D+4'", Some(Rejected)),
        ("UCI+1+A+B+1'", Some(Accepted)),
        ("UCI+1+A+B+99'", None),
    ] {
        assert_eq!(statuses(&contrl(segments)), [status], "{segments}");
    }
    let acks = scan(contrl("UCI+1+A+B+7'UCF+9+A+B+4+12'").as_bytes()).1;
    assert_eq!(acks[0].rejected_groups[0].control_number.as_deref(), Some("9"));
}

#[test]
fn segments_of_acknowledgements_outside_of_them_are_data() {
    assert_eq!(statuses(&x12("ST*850*1~AK1*PO*1~AK9*A*1*1*1~TA1*1*261115*0930*R*001~SE*5*1~")), []);
}

#[test]
fn rejected_ones_are_listed_before_others() {
    let accepted = "AK1*PO*1~AK9*A*1*1*1~".repeat(1500);
    let text = x12(&format!("ST*997*1~{accepted}AK1*PO*2~AK9*R*1*1*0~SE*1*1~"));
    let acks = scan(text.as_bytes()).1;
    assert_eq!(acks.len(), 1000);
    assert_eq!(acks[0].status, Some(Rejected));
    assert_eq!(acks.iter().filter(|ack| ack.status == Some(Accepted)).count(), 999);
}

#[test]
fn rejected_documents_take_the_place_of_accepted_ones() {
    let accepted = "AK2*850*1~AK5*A~".repeat(2000);
    let text =
        x12(&format!("ST*997*1~AK1*PO*2~{accepted}AK2*850*2~AK5*R*5~AK9*P*2001*2001*2000~SE*1*1~"));
    let acks = scan(text.as_bytes()).1;
    assert_eq!(acks[0].documents.len(), 999);
    assert_eq!(acks[0].document_count, Some(2001));
    assert_eq!(acks[0].documents[998].status, Some(Rejected));
}
