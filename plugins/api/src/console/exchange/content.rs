//! The steps of opening a message: encryption, compression, signature, contents.

use as2hook_as2::{Decoded, ErrorCode, SignatureStatus};

use super::{
    super::{components::Tone, phrases::shortened},
    steps::{ExchangeStep, StepPart},
    story::ExchangeFacts,
};

/// The message was not looked at.
pub(super) fn not_opened(facts: &ExchangeFacts<'_>) -> ExchangeStep {
    let error = facts.event.processing_errors().next().map(ToString::to_string);
    let text = "The gateway passed it on without a look inside. Its headers are known, its contents are not.";
    ExchangeStep::new(Tone::Off, "Not opened", text).fact("Processing error", error)
}

/// Whether it was encrypted, and opened.
pub(super) fn encryption(facts: &ExchangeFacts<'_>, decoded: &Decoded) -> ExchangeStep {
    let algorithm = || decoded.encryption_algorithm.as_ref().map(|name| name.to_uppercase());
    let errors = [ErrorCode::Decryption, ErrorCode::NotDecoded];
    let error = facts.event.processing_errors().find(|error| errors.contains(&error.code));
    // What was decrypted, or came open, was not decoded for a reason further inside.
    let is_closed = decoded.decrypted_with.is_none() && decoded.encrypted != Some(false);
    if let Some(error) = error.filter(|error| error.code == ErrorCode::Decryption || is_closed) {
        let (tone, text) = match error.code {
            ErrorCode::NotDecoded => {
                (Tone::Off, format!("It was not opened here: {}.", error.message))
            }
            _ => (
                Tone::Bad,
                format!("It is encrypted, and none of your keys opens it: {}.", error.message),
            ),
        };
        return ExchangeStep::new(tone, "Not decrypted", text)
            .fact("Processing error", Some(error.to_string()))
            .fact("Algorithm", algorithm());
    }
    match (decoded.encrypted, &decoded.decrypted_with) {
        (Some(true), Some(serial)) => ExchangeStep::new(
            Tone::Ok,
            "Decrypted",
            "It was encrypted for your certificate, so only you could open it.",
        )
        .fact("Algorithm", algorithm())
        .fact("Your certificate", Some(format!("serial {}", shortened(serial)))),
        (Some(true), None) => ExchangeStep::new(
            Tone::Off,
            "Not decrypted",
            "It is encrypted, and was not opened here.",
        )
        .fact("Algorithm", algorithm()),
        (Some(false), _) => ExchangeStep::new(
            Tone::Off,
            "Not encrypted",
            "It came without an encryption of its own. What protects it on its way is the connection alone.",
        ),
        (None, _) => ExchangeStep::new(
            Tone::Off,
            "Encryption not known",
            "Whether it is encrypted could not be seen.",
        ),
    }
}

/// It was compressed.
pub(super) fn compression(facts: &ExchangeFacts<'_>) -> Option<ExchangeStep> {
    let error = facts.error(ErrorCode::Decompression)?;
    let text = format!("It is compressed, and cannot be unpacked: {error}.");
    Some(ExchangeStep::new(Tone::Bad, "Not decompressed", text))
}

/// Who signed it, as far as the configured certificates say.
pub(super) fn signature(facts: &ExchangeFacts<'_>, decoded: &Decoded) -> ExchangeStep {
    let partner = facts.partner();
    let signer = decoded.signer.as_ref().map(|serial| format!("serial {}", shortened(serial)));
    let step = match decoded.signature_status {
        Some(SignatureStatus::Valid) => ExchangeStep::new(
            Tone::Ok,
            "Signature checked",
            format!("{partner} signed it, and not a byte was changed on the way."),
        ),
        Some(SignatureStatus::OtherCertificate) => ExchangeStep::new(
            Tone::Bad,
            "Signed by another certificate",
            format!(
                "The signature is not of a certificate that is configured for {partner}. Either {partner} has a new one, or it did not send this."
            ),
        ),
        Some(SignatureStatus::Invalid) => ExchangeStep::new(
            Tone::Bad,
            "Signature not valid",
            "The content is not what was signed: it was changed on the way, or its signature is damaged.",
        ),
        Some(SignatureStatus::UnknownCertificate) => ExchangeStep::new(
            Tone::Wait,
            "Signature not checked",
            format!(
                "It is signed, but no certificate is configured for {partner}, so there is nothing to check it by."
            ),
        ),
        Some(SignatureStatus::Unsupported) => ExchangeStep::new(
            Tone::Wait,
            "Signature not checked",
            "It is signed in a way that cannot be checked here.",
        ),
        Some(SignatureStatus::Unsigned) => ExchangeStep::new(
            Tone::Off,
            "Not signed",
            format!("Nothing in it proves that {partner} sent it."),
        ),
        None => ExchangeStep::new(
            Tone::Off,
            "Signature not checked",
            "The signature, if there is one, is inside what could not be opened.",
        ),
    };
    step.fact("Verdict", decoded.signature_status.map(SignatureStatus::as_str))
        .fact("Certificate of the signer", signer)
        .fact("Digest", decoded.digest_algorithm.clone())
        .fact("Fingerprint (MIC)", decoded.mic.clone())
        .fact("Processing error", facts.error(ErrorCode::Signature))
}

/// What is in it.
pub(super) fn contents(facts: &ExchangeFacts<'_>, decoded: &Decoded) -> ExchangeStep {
    for code in [ErrorCode::Parse, ErrorCode::Limit] {
        if let Some(error) = facts.error(code) {
            let step = ExchangeStep::new(Tone::Bad, "Contents not read", format!("{error}."));
            return step.with(StepPart::Attachments);
        }
    }
    let (tone, title, text) = match decoded.attachments.as_slice() {
        [] => (Tone::Off, "Contents unknown", "No document could be seen in it.".to_owned()),
        [one] => {
            let name = one.name.as_deref().unwrap_or("without a name");
            (Tone::Ok, "Contents read", format!("One document: {name}."))
        }
        many => (Tone::Ok, "Contents read", format!("{} documents.", many.len())),
    };
    let compressed = decoded.compressed.filter(|is| *is).map(|_| "yes");
    ExchangeStep::new(tone, title, text).fact("Compressed", compressed).with(StepPart::Attachments)
}
