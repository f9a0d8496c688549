//! The filters `signature` and `errors`.

use super::*;

#[test]
fn signature_filter_lets_its_statuses_in_and_no_other() {
    use SignatureStatus::{Invalid, OtherCertificate, Valid};
    let set = compile([
        rule("verified").signature(&[Valid]),
        rule("forged").signature(&[Invalid, OtherCertificate]),
        rule("log").always().signature(&[Valid, Invalid]),
    ]);
    let fired = |status| {
        let findings = Findings::default().signature(status).errors([]);
        fired_with(&set, &query(Some("ACME"), None), &findings).join(" ")
    };
    assert_eq!(fired(Some(Valid)), "verified log");
    assert_eq!(fired(Some(Invalid)), "forged log");
    assert_eq!(fired(Some(OtherCertificate)), "forged");
    assert_eq!(fired(Some(SignatureStatus::Unsigned)), "");
    assert_eq!(fired(None), "", "one that was not judged");
}

#[test]
fn error_filter_looks_at_the_codes() {
    use ErrorCode::{Decryption, Parse, Signature};
    let codes = ErrorFilter::Codes(vec![Decryption, Signature]);
    let set = compile([
        rule("clean").errors(ErrorFilter::None),
        rule("some").always().errors(ErrorFilter::Any),
        rule("codes").always().errors(codes),
    ]);
    let fired = |codes: &[ErrorCode]| {
        let findings = Findings::default().signature(None).errors(codes.iter().copied());
        fired_with(&set, &query(Some("ACME"), None), &findings).join(" ")
    };
    assert_eq!(fired(&[]), "clean");
    assert_eq!(fired(&[Parse]), "some");
    assert_eq!(fired(&[Parse, Signature]), "some codes");
}

#[test]
fn filter_that_does_not_hold_leaves_the_event_to_the_next_rule() {
    let valid = [SignatureStatus::Valid];
    let set = compile([
        rule("acme").partner("ACME").signature(&valid),
        rule("all").errors(ErrorFilter::None),
    ]);
    assert_eq!(fired(&set, &query(Some("ACME"), None)), ["all"]);
    let findings = clean().signature(Some(SignatureStatus::Valid));
    assert_eq!(fired_with(&set, &query(Some("ACME"), None), &findings), ["acme"]);
}

#[test]
fn filters_do_not_make_a_rule_more_specific() {
    let set = compile([
        rule("star").events(None).signature(&[SignatureStatus::Unsigned]).errors(ErrorFilter::None),
        rule("event"),
    ]);
    assert_eq!(fired(&set, &query(None, None)), ["event"]);
}

#[test]
fn every_rule_that_can_still_fire_is_a_candidate() {
    let set = compile([
        rule("global"),
        rule("station").station("WE"),
        rule("acme").partner("ACME").signature(&[SignatureStatus::Valid]),
        rule("broken").partner("ACME").signature(&[SignatureStatus::Invalid]),
        rule("log").always().errors(ErrorFilter::Any),
        rule("elsewhere").partner("AMZN"),
    ]);
    let query = query(Some("ACME"), Some("WE"));
    let names: Vec<_> = set.candidates(&query).iter().map(|rule| rule.name.as_str()).collect();
    // "global" stands behind "station", which has no filter.
    assert_eq!(names, ["acme", "broken", "station", "log"]);
    let unknown = set.matches(&query, &Findings::default());
    assert_eq!(unknown.winner.map(|rule| rule.name.as_str()), Some("station"));
    assert!(unknown.always.is_empty());
}

/// An event's own errors and those of its verdict.
#[test]
fn findings_are_those_of_the_settled_event() {
    use as2hook_as2::ProcessingError;
    let set = compile([rule("clean").errors(ErrorFilter::None)]);
    let query = query(None, None);
    let refused = [ProcessingError::new(ErrorCode::Receiver, "processed/error")];
    assert_eq!(fired_with(&set, &query, &clean().with(&refused)), [""; 0]);
    assert_eq!(fired_with(&set, &query, &clean().with([])), ["clean"]);
}

#[test]
fn rules_with_disjoint_filters_stand_beside_each_other_and_overlapping_ones_do_not() {
    use SignatureStatus::{Invalid, Unsigned, Valid};
    let clash = |one: Builder, other: Builder| RuleSet::compile(vec![one.0, other.0]).is_err();
    let codes = |codes: &[ErrorCode]| ErrorFilter::Codes(codes.to_vec());
    let (a, b) = (|| rule("a"), || rule("b"));
    assert!(!clash(a().signature(&[Valid]), b().signature(&[Invalid, Unsigned])));
    assert!(clash(a().signature(&[Valid, Unsigned]), b().signature(&[Invalid, Unsigned])));
    assert!(clash(a().signature(&[Valid]), b()), "one that takes all");
    assert!(!clash(a().errors(ErrorFilter::None), b().errors(ErrorFilter::Any)));
    assert!(!clash(a().errors(ErrorFilter::None), b().errors(codes(&[ErrorCode::Parse]))));
    assert!(clash(a().errors(ErrorFilter::Any), b().errors(codes(&[ErrorCode::Parse]))));
    // A message can have both.
    let (parse, limit) = (codes(&[ErrorCode::Parse]), codes(&[ErrorCode::Limit]));
    assert!(clash(a().errors(parse), b().errors(limit)));
    let apart = a().signature(&[Valid]).errors(ErrorFilter::None);
    assert!(!clash(apart, b().signature(&[Invalid]).errors(ErrorFilter::None)));
    let conflict = conflicts([a().signature(&[Valid]), b()])[0].to_string();
    assert!(conflict.contains("one message could satisfy the filters of both"), "{conflict}");
}

#[test]
fn explains_filters_that_hold_do_not_hold_or_are_not_known() {
    let set = compile([
        rule("global"),
        rule("acme").partner("ACME").signature(&[SignatureStatus::Valid]).errors(ErrorFilter::None),
        rule("log").always().errors(ErrorFilter::Codes(vec![ErrorCode::Limit])),
    ]);
    let explained = |findings: &Findings| -> Vec<String> {
        let explained = set.explain(&query(Some("ACME"), None), findings);
        explained.iter().map(|one| one.to_string().replace(" (names event)", "")).collect()
    };
    let condition = "its signature is valid and it has no errors";
    assert_eq!(
        explained(&Findings::default()),
        [
            format!("acme: may fire: it fires if {condition} (names partner, event)"),
            "global: may fire: \"acme\" is more specific, and fires instead if its filters hold"
                .into(),
            "log: may fire: it fires if it has an error 1300".into(),
        ]
    );
    assert_eq!(
        explained(&clean()),
        [
            format!("acme: does not fire: it fires only if {condition} (names partner, event)"),
            "global: fires: it is the most specific rule that matches".into(),
            "log: does not fire: it fires only if it has an error 1300".into(),
        ]
    );
    let valid = clean().signature(Some(SignatureStatus::Valid));
    assert!(explained(&valid)[0].starts_with("acme: fires: it is the most specific"));
    assert!(explained(&clean().some_errors())[2].starts_with("log: may fire"));
}

#[test]
fn document_decides_before_the_event_and_after_the_partner_type() {
    let set = compile([
        rule("all").events(None),
        rule("orders").documents(&["850", "ORDERS"]).events(None),
        rule("event"),
        rule("test").partner_type(PartnerType::Test),
        rule("invoices").documents(&["X12:810"]),
    ]);
    let query = query(None, None);
    let fired = |documents: &[&str]| {
        let types = documents.iter().flat_map(|of| of.parse()).collect();
        fired_with(&set, &query, &clean().documents(types))[0].to_owned()
    };
    assert_eq!(fired(&["EDIFACT:ORDERS"]), "orders");
    assert_eq!(fired(&["X12:0850"]), "event");
    assert_eq!(fired(&["EDIFACT:810"]), "event");
    assert_eq!(fired(&[]), "event");
    let test = Query { partner_type: PartnerType::Test, ..query };
    let types = vec!["X12:850".parse().unwrap()];
    assert_eq!(fired_with(&set, &test, &clean().documents(types)), ["test"]);
    // At the head any of them may come: what they need is kept.
    let may_fire: Vec<_> = set.candidates(&query).iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(may_fire, ["invoices", "orders", "event"]);
}

#[test]
fn first_document_of_a_message_decides_between_rules() {
    let set = compile([rule("orders").documents(&["850"]), rule("invoices").documents(&["810"])]);
    for (documents, name) in
        [(["X12:850", "X12:810"], "orders"), (["X12:810", "X12:850"], "invoices")]
    {
        let types = documents.iter().flat_map(|of| of.parse()).collect();
        assert_eq!(fired_with(&set, &query(None, None), &clean().documents(types)), [name]);
    }
}

#[test]
fn rules_of_the_same_document_conflict() {
    for (one, other, conflicts) in [
        ("850", "850", true),
        ("850", "X12:850", true),
        ("X12:850", "EDIFACT:850", false),
        ("850", "810", false),
    ] {
        let rules = [rule("a").documents(&[one]), rule("b").documents(&[other])];
        let compiled = RuleSet::compile(rules.map(|rule| rule.0).to_vec());
        assert_eq!(compiled.is_err(), conflicts, "{one} {other}");
    }
}
