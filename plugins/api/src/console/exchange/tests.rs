use as2hook_as2::{ContentKind, Decoded, ErrorCode, Mdn, ProcessingError, SignatureStatus};
use as2hook_event::{Direction, Event, EventKind, SendError, Stage};

use super::{
    super::components::Tone,
    counts_for,
    steps::{StepPart, steps},
    story::ExchangeFacts,
};
use crate::deliveries::DeliveryDetail;

fn decoded(status: Option<SignatureStatus>) -> Decoded {
    Decoded {
        kind: ContentKind::Message,
        as2_message_id: Some("<a@b>".to_owned()),
        sender_id: None,
        receiver_id: None,
        subject: None,
        encrypted: Some(true),
        signed: Some(true),
        compressed: Some(false),
        encryption_algorithm: Some("aes-256-cbc".to_owned()),
        decrypted_with: Some("4711".to_owned()),
        signature_verified: status.and_then(SignatureStatus::verified),
        signature_status: status,
        signer: Some("0815".to_owned()),
        digest_algorithm: Some("sha-256".to_owned()),
        mic: None,
        mics: Vec::new(),
        attachments: Vec::new(),
        documents: Vec::new(),
        acks: Vec::new(),
        errors: Vec::new(),
        warnings: Vec::new(),
        mdn: None,
    }
}

fn event(kind: EventKind) -> Event {
    let direction = match kind {
        EventKind::MessageSent | EventKind::SendError | EventKind::MdnSent => Direction::Outbound,
        _ => Direction::Inbound,
    };
    Event {
        direction,
        partner: Some("ACME".to_owned()),
        decoded: Some(decoded(Some(SignatureStatus::Valid))),
        ..Event::new(kind)
    }
}

fn delivery(webhook: &str, status: &'static str) -> DeliveryDetail {
    DeliveryDetail {
        id: 1,
        webhook: webhook.to_owned(),
        webhook_id: "msg_1".to_owned(),
        payload: "json".to_owned(),
        status,
        replay: false,
        next_attempt_at: None,
        event_id: String::new(),
        attempts: Vec::new(),
    }
}

fn facts<'a>(event: &'a Event, deliveries: &'a [DeliveryDetail]) -> ExchangeFacts<'a> {
    ExchangeFacts {
        event,
        open: false,
        receipt: None,
        is_taken_back: false,
        overdue: false,
        deliveries,
    }
}

fn failed(stage: Stage, http_status: Option<u16>) -> Event {
    let error = SendError { stage, http_status, message: "no".to_owned() };
    Event { send_error: Some(error), ..event(EventKind::SendError) }
}

fn with_error(code: ErrorCode) -> Event {
    let errors = vec![ProcessingError::new(code, "the reason")];
    Event { errors, ..event(EventKind::MessageReceived) }
}

#[test]
fn heading_says_what_became_of_the_message_and_which_webhook_lacks_it() {
    let event = event(EventKind::MessageReceived);
    for (deliveries, heading) in [
        (vec![], "The message arrived safely."),
        (
            vec![delivery("archive", "delivered"), delivery("erp-orders", "pending")],
            "The message arrived safely. erp-orders does not have it yet.",
        ),
        (
            vec![delivery("a", "pending"), delivery("b", "claimed")],
            "The message arrived safely. a and b do not have it yet.",
        ),
        (
            vec![delivery("a", "dead"), delivery("b", "pending")],
            "The message arrived safely. a did not get it.",
        ),
        (vec![delivery("a", "held")], "The message arrived safely. a is disabled, so it is held."),
        (vec![delivery("a", "delivered")], "The message arrived safely. a has it."),
    ] {
        assert_eq!(facts(&event, &deliveries).heading(), heading);
    }
}

#[test]
fn heading_counts_the_webhooks_that_have_it_and_those_that_do_not() {
    let event = event(EventKind::MessageReceived);
    let mut deliveries: Vec<_> =
        ["a", "b", "c", "d"].map(|name| delivery(name, "delivered")).into();
    assert!(facts(&event, &deliveries).heading().ends_with("All 4 webhooks have it."));
    deliveries.push(delivery("e", "cancelled"));
    assert!(facts(&event, &deliveries).heading().ends_with("4 of 5 webhooks have it."));
    for (state, title) in [
        ("pending", "Not delivered yet"),
        ("dead", "Not delivered"),
        ("cancelled", "Not delivered"),
        ("delivered", "Delivered to the webhook"),
    ] {
        let one = [delivery("a", state)];
        let steps = steps(&facts(&event, &one));
        assert_eq!(steps.last().unwrap().title, title);
    }
}

#[test]
fn heading_of_an_open_exchange_promises_nothing() {
    let event = event(EventKind::MessageReceived);
    let deliveries = [delivery("a", "pending")];
    let open = ExchangeFacts { open: true, ..facts(&event, &deliveries) };
    assert_eq!(open.heading(), "Your AS2 server has not responded yet.");
}

#[test]
fn heading_names_where_an_exchange_failed() {
    let undecrypted = with_error(ErrorCode::Decryption);
    assert_eq!(facts(&undecrypted, &[]).heading(), "The message could not be opened here.");
    let refused = with_error(ErrorCode::Receiver);
    assert_eq!(
        facts(&refused, &[]).heading(),
        "The message arrived, but your AS2 server refused it."
    );
    for (stage, status, heading) in [
        (Stage::Connect, None, "The message was not sent: there is no connection to ACME."),
        (Stage::Timeout, None, "ACME did not respond in time."),
        (Stage::Http, Some(500), "ACME refused the message with status 500."),
        (Stage::Mdn, Some(200), "ACME did not confirm the message."),
        (Stage::Mic, Some(200), "ACME confirmed another content than was sent."),
        (Stage::Unknown, None, "It is not known whether ACME has the message."),
    ] {
        assert_eq!(facts(&failed(stage, status), &[]).heading(), heading);
    }
}

#[test]
fn heading_of_a_sent_message_says_how_its_receipt_stands() {
    let mut event = event(EventKind::MessageSent);
    assert_eq!(facts(&event, &[]).heading(), "ACME has the message.");
    event.headers.push("Disposition-Notification-To", "as2@we.example");
    assert_eq!(facts(&event, &[]).heading(), "ACME has the message, and confirmed it.");
    event.headers.push("Receipt-Delivery-Option", "http://we.example/mdn");
    assert_eq!(
        facts(&event, &[]).heading(),
        "The message was sent. ACME has not confirmed it yet."
    );
    let overdue = ExchangeFacts { overdue: true, ..facts(&event, &[]) };
    assert_eq!(overdue.heading(), "The message was sent. The receipt of ACME is overdue.");
    let receipt = Event { mic_matches: Some(true), ..self::event(EventKind::MdnReceived) };
    let confirmed = ExchangeFacts { receipt: Some(&receipt), ..facts(&event, &[]) };
    assert_eq!(confirmed.heading(), "ACME has the message, and confirmed it.");
}

/// A receipt of this message, which says so.
fn receipt_of(message: &Event, error: bool, mic_matches: Option<bool>) -> Event {
    let mdn = Some(Mdn { error, ..Mdn::default() });
    let mut receipt = Event {
        decoded: Some(Decoded { mdn, ..decoded(Some(SignatureStatus::Valid)) }),
        mic_matches,
        ..event(EventKind::MdnReceived)
    };
    receipt.extra.insert("messageEventId".to_owned(), message.id.to_string().into());
    receipt
}

#[test]
fn receipt_that_refuses_a_message_is_not_shown_as_its_confirmation() {
    for (kind, error, mic, heading) in [
        (EventKind::MessageSent, true, None, "ACME has the message, and refused it."),
        (
            EventKind::MessageSent,
            false,
            Some(false),
            "ACME confirmed another content than was sent.",
        ),
        (
            EventKind::MessageReceived,
            true,
            None,
            "The message arrived, but your AS2 server refused it.",
        ),
        (
            EventKind::MessageReceived,
            false,
            Some(false),
            "The message arrived, but your AS2 server refused it.",
        ),
    ] {
        let message = event(kind);
        let receipt = receipt_of(&message, error, mic);
        let facts = ExchangeFacts { receipt: Some(&receipt), ..facts(&message, &[]) };
        assert_eq!(facts.heading(), heading);
        assert!(facts.route().iter().any(|stop| stop.tone == Tone::Bad), "{heading}");
        let steps = steps(&facts);
        let step = steps.iter().find(|step| step.part == StepPart::Receipt).unwrap();
        assert_eq!(step.tone, Tone::Bad, "{}", step.text);
    }
    let sent = event(EventKind::MessageSent);
    let taken_back = ExchangeFacts { is_taken_back: true, ..facts(&sent, &[]) };
    assert_eq!(taken_back.heading(), "ACME did not confirm the message.");
}

#[test]
fn receipt_counts_only_for_its_own_message_and_when_it_is_trusted() {
    let message = event(EventKind::MessageSent);
    let receipt = receipt_of(&message, false, Some(true));
    assert!(counts_for(&receipt, &message));
    assert!(!counts_for(&receipt, &event(EventKind::MessageSent)));
    let mut unknown = receipt.clone();
    unknown.extra.clear();
    assert!(!counts_for(&unknown, &message));
    let error = |code| vec![ProcessingError::new(code, "no")];
    let forged = Event { errors: error(ErrorCode::Signature), ..receipt.clone() };
    assert!(!counts_for(&forged, &message));
    let refusal = Event { errors: error(ErrorCode::Receiver), ..receipt };
    assert!(counts_for(&refusal, &message));
}

#[test]
fn steps_of_an_inbound_message_lead_from_the_partner_to_the_webhooks() {
    let event = event(EventKind::MessageReceived);
    let deliveries = [delivery("a", "delivered")];
    let steps = steps(&facts(&event, &deliveries));
    let titles: Vec<_> = steps.iter().map(|step| step.title.as_str()).collect();
    assert_eq!(
        titles,
        [
            "Received from ACME",
            "Decrypted",
            "Signature checked",
            "Contents unknown",
            "Handed to your AS2 server",
            "No receipt asked for",
            "Delivered to the webhook",
        ]
    );
    assert_eq!(steps[0].part, StepPart::Headers);
    assert_eq!(steps[6].part, StepPart::Webhooks);
}

#[test]
fn steps_of_a_message_that_cannot_be_opened_say_why_and_go_on() {
    let mut event = with_error(ErrorCode::Decryption);
    event.decoded = Some(Decoded { decrypted_with: None, ..decoded(None) });
    let steps = steps(&facts(&event, &[]));
    assert_eq!((steps[1].tone, steps[1].title.as_str()), (Tone::Bad, "Not decrypted"));
    assert!(steps[1].text.contains("the reason"), "{}", steps[1].text);
    assert_eq!((steps[2].tone, steps[2].title.as_str()), (Tone::Off, "Signature not checked"));
    assert_eq!(steps[4].tone, Tone::Ok, "it was passed on all the same");
}

#[test]
fn step_of_a_message_that_was_not_decoded_says_the_reason_unless_it_was_decrypted() {
    let mut event = with_error(ErrorCode::NotDecoded);
    assert_eq!(steps(&facts(&event, &[]))[1].title, "Decrypted");
    event.decoded = Some(Decoded { decrypted_with: None, ..decoded(None) });
    let steps = steps(&facts(&event, &[]));
    assert_eq!((steps[1].tone, steps[1].title.as_str()), (Tone::Off, "Not decrypted"));
    assert_eq!(steps[1].text, "It was not opened here: the reason.");
}

#[test]
fn steps_of_a_message_that_was_not_looked_at_say_so() {
    let event = Event { decoded: None, ..event(EventKind::MessageReceived) };
    let steps = steps(&facts(&event, &[]));
    let titles: Vec<_> = steps.iter().map(|step| step.title.as_str()).collect();
    assert_eq!(titles[1..3], ["Not opened", "Handed to your AS2 server"]);
}

#[test]
fn steps_of_a_refused_message_blame_the_server_that_refused_it() {
    let error = SendError {
        stage: Stage::Http,
        http_status: Some(503),
        message: "The receiver responded HTTP 503".to_owned(),
    };
    let event = Event { send_error: Some(error), ..event(EventKind::MessageRejected) };
    let all = steps(&facts(&event, &[]));
    let handed = &all[4];
    assert_eq!((handed.tone, handed.title.as_str()), (Tone::Bad, "Not taken by your AS2 server"));
    assert!(handed.facts.contains(&("Status", "503".to_owned())));
}

#[test]
fn steps_of_a_receipt_show_what_it_says() {
    let mdn = Mdn {
        error: true,
        disposition: Some("automatic-action/MDN-sent-automatically; failed/failure".to_owned()),
        human_message: Some("<b>no</b>".to_owned()),
        ..Mdn::default()
    };
    let decoded = Decoded { mdn: Some(mdn), ..decoded(Some(SignatureStatus::Valid)) };
    let event = Event { decoded: Some(decoded), ..event(EventKind::MdnReceived) };
    assert_eq!(facts(&event, &[]).heading(), "ACME sent a receipt that refuses a message.");
    let says = steps(&facts(&event, &[]));
    let says = says.iter().find(|step| step.part == StepPart::Receipt).unwrap();
    assert_eq!((says.tone, says.title.as_str()), (Tone::Bad, "It refuses the message"));
    assert!(says.facts.contains(&("In words", "<b>no</b>".to_owned())));
}

#[test]
fn system_event_is_one_step_and_its_webhooks() {
    let mut event = Event::new(EventKind::WebhookFailing);
    event.extra.insert("webhook".to_owned(), "erp".into());
    event.extra.insert("lastError".to_owned(), "503".into());
    let facts = facts(&event, &[]);
    assert_eq!(facts.heading(), "erp failed ten times in a row.");
    assert!(facts.route().is_empty());
    let steps = steps(&facts);
    assert_eq!(steps.len(), 2);
    assert!(steps[0].facts.contains(&("Last error", "503".to_owned())));
}

#[test]
fn route_breaks_where_the_message_is_stuck() {
    let event = event(EventKind::MessageReceived);
    let tones = |deliveries: &[DeliveryDetail]| {
        facts(&event, deliveries).route().iter().map(|stop| stop.tone).collect::<Vec<_>>()
    };
    let ok = [Tone::Ok; 3];
    assert_eq!(tones(&[delivery("erp", "pending")]), [&ok[..], &[Tone::Wait]].concat());
    assert_eq!(tones(&[delivery("erp", "dead")]), [&ok[..], &[Tone::Bad]].concat());
    let failed = failed(Stage::Connect, None);
    let facts = facts(&failed, &[]);
    let stops: Vec<_> =
        facts.route().iter().map(|stop| (stop.tone, stop.name.to_owned())).collect();
    assert_eq!(stops[2], (Tone::Bad, "ACME".to_owned()));
}
