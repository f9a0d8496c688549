//! The steps of a message that our AS2 server sent.

use as2hook_as2::{Decoded, SignatureStatus};
use as2hook_event::Stage;

use super::{
    super::{components::Tone, phrases::shortened},
    content,
    steps::{ExchangeStep, StepPart},
    story::{ExchangeFacts, says_no},
};

/// Returns them, up to the fingerprint.
pub(super) fn steps(facts: &ExchangeFacts<'_>) -> Vec<ExchangeStep> {
    let station = facts.event.station.as_deref().unwrap_or("Your AS2 server");
    let text = format!("{station} sends it to {}.", facts.partner());
    let taken = ExchangeStep::new(Tone::Ok, "Taken from your AS2 server", text);
    let mut steps = vec![taken.with(StepPart::Headers)];
    if let Some(decoded) = &facts.event.decoded {
        steps.push(form(facts, decoded));
        if !decoded.attachments.is_empty() {
            steps.push(content::contents(facts, decoded));
        }
    }
    steps.push(sent(facts));
    steps.push(receipt(facts));
    steps
}

/// How the message is protected. What is encrypted for the partner cannot be opened here.
fn form(facts: &ExchangeFacts<'_>, decoded: &Decoded) -> ExchangeStep {
    let partner = facts.partner();
    let algorithm = decoded.encryption_algorithm.as_ref().map(|name| name.to_uppercase());
    let (title, text) = match (decoded.encrypted, decoded.signature_status) {
        (Some(true), _) => {
            ("Encrypted", format!("It is encrypted for {partner}: only {partner} can open it."))
        }
        (_, Some(SignatureStatus::Valid)) => {
            ("Signed", "It is signed with a key of yours, and not encrypted.".to_owned())
        }
        (_, Some(SignatureStatus::Unsigned)) => {
            ("Neither signed nor encrypted", "What protects it is the connection alone.".to_owned())
        }
        _ => ("Passed on", "It was passed on unchanged.".to_owned()),
    };
    ExchangeStep::new(Tone::Ok, title, text)
        .fact("Algorithm", algorithm)
        .fact(
            "Signed by",
            decoded.signer.as_ref().map(|serial| format!("serial {}", shortened(serial))),
        )
        .fact("Fingerprint (MIC)", decoded.mic.clone())
}

fn sent(facts: &ExchangeFacts<'_>) -> ExchangeStep {
    let partner = facts.partner();
    let to = facts.event.peer.map(|peer| peer.to_string());
    if facts.open {
        let text = format!("{partner} has not responded yet.");
        return ExchangeStep::new(Tone::Wait, format!("Sent to {partner}"), text)
            .fact("Address", to);
    }
    let Some(error) = &facts.event.send_error else {
        let text = format!("{partner} accepted it.");
        return ExchangeStep::new(Tone::Ok, format!("Sent to {partner}"), text).fact("Address", to);
    };
    let (tone, title) = match error.stage {
        Stage::Connect | Stage::Tls => (Tone::Bad, format!("Not connected to {partner}")),
        Stage::Timeout => (Tone::Bad, format!("No response of {partner}")),
        Stage::Http => (Tone::Bad, format!("Refused by {partner}")),
        Stage::Mdn | Stage::Signature | Stage::Mic => (Tone::Ok, format!("Sent to {partner}")),
        Stage::Unknown => (Tone::Wait, format!("Sent to {partner}")),
    };
    let text = match error.stage {
        Stage::Mdn | Stage::Signature | Stage::Mic => format!("{partner} responded."),
        _ => format!("{}.", error.message.trim_end_matches('.')),
    };
    ExchangeStep::new(tone, title, text)
        .fact("Where it failed", Some(error.stage.as_str()))
        .fact("Status", error.http_status.map(|status| status.to_string()))
        .fact("Address", to)
}

fn receipt(facts: &ExchangeFacts<'_>) -> ExchangeStep {
    let partner = facts.partner();
    let step = |tone, title: String, text: String| {
        ExchangeStep::new(tone, title, text).with(StepPart::Receipt)
    };
    if let Some(error) = &facts.event.send_error {
        return match error.stage {
            Stage::Mdn | Stage::Signature | Stage::Mic => {
                let title = match error.stage {
                    Stage::Mdn => format!("Not confirmed by {partner}"),
                    Stage::Signature => "Receipt not trusted".to_owned(),
                    _ => "Fingerprints differ".to_owned(),
                };
                step(Tone::Bad, title, format!("{}.", error.message.trim_end_matches('.')))
            }
            _ => {
                step(Tone::Off, "No receipt".to_owned(), "There was nothing to confirm.".to_owned())
            }
        };
    }
    if let Some(receipt) = facts.refusal() {
        let (title, text) = match says_no(receipt) {
            true => ("Negative receipt", "refused the message: its receipt says so."),
            false => {
                ("Fingerprints differ", "confirmed another fingerprint than that of the message.")
            }
        };
        return step(Tone::Bad, title.to_owned(), format!("{partner} {text}"));
    }
    if facts.is_taken_back {
        let text = "The event that takes this one back says why.".to_owned();
        return step(Tone::Bad, format!("Not confirmed by {partner}"), text);
    }
    if let Some(receipt) = facts.confirmation() {
        let text = match receipt.mic_matches {
            Some(_) => format!(
                "{partner} confirmed in writing that the message arrived whole: its fingerprint is the same."
            ),
            None => {
                format!("{partner} confirmed the message. The fingerprints could not be compared.")
            }
        };
        return step(Tone::Ok, format!("Receipt of {partner} arrived"), text);
    }
    match facts.asks_for_receipt() {
        None => step(
            Tone::Off,
            "No receipt asked for".to_owned(),
            "Your AS2 server did not ask for one.".to_owned(),
        ),
        Some(true) if facts.overdue => step(
            Tone::Bad,
            "Receipt overdue".to_owned(),
            format!(
                "{partner} did not confirm the message in time. Ask {partner} whether it has it."
            ),
        ),
        Some(true) => step(
            Tone::Wait,
            "Receipt awaited".to_owned(),
            format!(
                "{partner} confirms on a connection of its own. It is shown here where a rule subscribes to mdn.received."
            ),
        ),
        Some(false) => step(
            Tone::Ok,
            "Receipt in the response".to_owned(),
            format!(
                "{partner} confirmed the message in its response. The receipt itself is kept where a rule subscribes to mdn.received."
            ),
        ),
    }
}
