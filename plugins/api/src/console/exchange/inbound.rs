//! The steps of a message that a partner sent.

use as2hook_as2::ErrorCode;
use as2hook_event::EventKind;

use super::{
    super::components::Tone,
    content,
    steps::{ExchangeStep, StepPart, looked_at},
    story::{ExchangeFacts, says_no},
};

/// Returns them, up to the receipt.
pub(super) fn steps(facts: &ExchangeFacts<'_>) -> Vec<ExchangeStep> {
    let event = facts.event;
    let from = event.peer.map(|peer| format!("It came from {peer}."));
    let received = format!("Received from {}", facts.partner());
    let received = ExchangeStep::new(Tone::Ok, received, from.unwrap_or_default());
    let mut steps = vec![received.with(StepPart::Headers)];
    steps.extend(looked_at(facts));
    steps.extend(event.decoded.as_ref().map(|decoded| content::contents(facts, decoded)));
    steps.push(handed(facts));
    steps.push(receipt(facts));
    steps
}

fn handed(facts: &ExchangeFacts<'_>) -> ExchangeStep {
    let title = "Handed to your AS2 server";
    if facts.open {
        return ExchangeStep::new(
            Tone::Wait,
            title,
            "It was passed on. The response has not come yet.",
        );
    }
    if let Some(error) = facts.error(ErrorCode::OutcomeUnknown) {
        return ExchangeStep::new(Tone::Wait, title, format!("{error}."));
    }
    match (facts.event.kind, &facts.event.send_error) {
        (EventKind::MessageRejected, error) => {
            let why =
                error.as_ref().map(|error| error.message.as_str()).unwrap_or("no reason is known");
            let text = format!(
                "It did not take the message: {why}. The partner got the same response, and will send it again."
            );
            let status = error.as_ref().and_then(|error| error.http_status);
            ExchangeStep::new(Tone::Bad, "Not taken by your AS2 server", text)
                .fact("Where it failed", error.as_ref().map(|error| error.stage.as_str()))
                .fact("Status", status.map(|status| status.to_string()))
        }
        (EventKind::MessageDuplicate, _) => ExchangeStep::new(
            Tone::Off,
            title,
            "It was passed on unchanged once more. The same message, byte for byte, had come before, so webhooks for message.received did not get it again.",
        ),
        _ => ExchangeStep::new(
            Tone::Ok,
            title,
            "It was passed on unchanged, and your server accepted it.",
        ),
    }
}

fn receipt(facts: &ExchangeFacts<'_>) -> ExchangeStep {
    let partner = facts.partner();
    if let Some(refusal) = facts.error(ErrorCode::Receiver) {
        let text = format!(
            "Your AS2 server's receipt says “{refusal}”. {partner} knows that this message did not get through, if its staff look at the receipt."
        );
        return ExchangeStep::new(Tone::Bad, format!("Negative receipt sent to {partner}"), text)
            .with(StepPart::Receipt);
    }
    if let Some(receipt) = facts.refusal() {
        let text = match says_no(receipt) {
            true => "Your AS2 server's receipt refuses the message.",
            false => {
                "Your AS2 server's receipt names another fingerprint than that of the message."
            }
        };
        return ExchangeStep::new(Tone::Bad, format!("Negative receipt sent to {partner}"), text)
            .with(StepPart::Receipt);
    }
    if facts.confirmation().is_some() {
        let text = format!(
            "Your AS2 server confirmed in writing that the message arrived whole. For {partner} it is delivered."
        );
        return ExchangeStep::new(Tone::Ok, format!("Receipt sent to {partner}"), text)
            .with(StepPart::Receipt);
    }
    let (title, text) = match (facts.event.kind, facts.asks_for_receipt()) {
        (_, None) => ("No receipt asked for", format!("{partner} did not ask for one.")),
        (EventKind::MessageRejected, _) => {
            ("No receipt", "The message was not taken, so there is nothing to confirm.".to_owned())
        }
        _ if facts.open => ("Receipt to come", format!("{partner} asked for one.")),
        (_, Some(true)) => (
            "Receipt on a connection of its own",
            format!(
                "{partner} asked for a receipt later. It is shown here where a rule subscribes to mdn.sent."
            ),
        ),
        (_, Some(false)) => (
            "Receipt in the response",
            format!(
                "{partner} asked for a receipt in the response, and your AS2 server sent no refusal. The receipt itself is kept where a rule subscribes to mdn.sent."
            ),
        ),
    };
    ExchangeStep::new(Tone::Off, title, text).with(StepPart::Receipt)
}
