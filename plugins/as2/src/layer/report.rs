//! multipart/report: the parts of an MDN (RFC 3462, RFC 8098).

use super::leaf::Leaf;
use crate::{
    Headers, Mdn,
    cut::{self, cut},
    fault::Fault,
    mdn,
    mime::{
        ContentType, Transfer, header,
        splitter::{MimeEvent, Splitter},
        words,
    },
    state::{DecodeFlow, End},
};

/// A report on its way; its parts are small and held.
#[derive(Default)]
pub(crate) struct Report {
    /// `None`: the body is the notification itself.
    splitter: Option<Splitter>,
    /// What it is besides, where documents stand beside it.
    document: Option<Leaf>,
    part: Vec<u8>,
    mdn: Mdn,
    has_notification: bool,
    /// It was declared as one, not guessed.
    is_typed: bool,
    /// The human message came from a part that is not plain text.
    is_second_choice: bool,
}

/// Bytes kept of one part; an MDN's are a few hundred.
const MAX_PART: usize = 64 * 1024;
/// Multiparts within the report.
const MAX_DEPTH: usize = 3;

// === impl Report ===

impl Report {
    pub(crate) fn new(splitter: Splitter) -> Self {
        Self { splitter: Some(splitter), ..Self::default() }
    }

    /// A notification among other parts.
    pub(crate) fn part_of(document: Leaf) -> Self {
        Self { document: Some(document), ..Self::default() }
    }

    /// The text for a person in a part that stands in front of a notification.
    pub(crate) fn human_message(part: &[u8]) -> Option<String> {
        let mut report = Self::default();
        report.part(part, 0);
        report.mdn.human_message
    }

    pub(crate) fn push(&mut self, bytes: &[u8], flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        if let Some(document) = &mut self.document {
            document.push(bytes, flow)?;
        }
        let Some(mut splitter) = self.splitter.take() else {
            self.keep(bytes);
            return Ok(());
        };
        let pushed = splitter.push(bytes, &mut |event| {
            self.on_event(event);
            Ok(())
        });
        self.splitter = Some(splitter);
        pushed
    }

    pub(crate) fn finish(mut self, end: End, flow: &mut DecodeFlow<'_>) -> Result<(), Fault> {
        if let Some(document) = self.document.take() {
            document.finish(end, flow)?;
        }
        if end == End::Cut {
            // Half a notification may say the contrary of the whole one.
            mdn::judge(&mut self.mdn);
            flow.state.facts.mdn = Some(self.mdn);
            return Ok(());
        }
        let mut closed = true;
        match self.splitter.take() {
            Some(mut splitter) => {
                splitter.finish(&mut |event| {
                    self.on_event(event);
                    Ok(())
                })?;
                if !self.has_notification {
                    self.search_human_message();
                }
                closed = splitter.is_closed() || self.has_notification;
            }
            None => {
                let part = std::mem::take(&mut self.part);
                self.notification(&part);
            }
        }
        mdn::judge(&mut self.mdn);
        let told = self.mdn.disposition.is_some();
        flow.state.facts.mdn = Some(self.mdn);
        match (closed, told) {
            (true, true) => Ok(()),
            (false, _) => Err(Fault::Truncated),
            (true, false) => Err(Fault::Malformed("the MDN has no disposition")),
        }
    }

    fn on_event(&mut self, event: MimeEvent<'_>) {
        match event {
            MimeEvent::Begin => self.part.clear(),
            MimeEvent::Data(bytes) => self.keep(bytes),
            MimeEvent::End => {
                let part = std::mem::take(&mut self.part);
                self.part(&part, 0);
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = MAX_PART - self.part.len();
        self.part.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn part(&mut self, part: &[u8], depth: usize) {
        let (mut headers, mut body) = header::split(part);
        // A notification without a MIME header begins with its own fields.
        if headers.get("disposition").is_some() {
            (headers, body) = (Headers::new(), part);
        }
        let kind = ContentType::of(&headers);
        let splitter = kind.parameter("boundary").filter(|_| kind.is_multipart());
        if depth < MAX_DEPTH
            && let Some(mut splitter) = splitter.and_then(Splitter::new)
        {
            let mut parts: Vec<Vec<u8>> = Vec::new();
            let mut collect = |event: MimeEvent<'_>| {
                match event {
                    MimeEvent::Begin => parts.push(Vec::new()),
                    MimeEvent::Data(bytes) => {
                        if let Some(last) = parts.last_mut() {
                            last.extend_from_slice(bytes);
                        }
                    }
                    MimeEvent::End => {}
                }
                Ok(())
            };
            // The part is small and whole: what cannot be split is left out.
            let _ = splitter.push(body, &mut collect);
            let _ = splitter.finish(&mut collect);
            parts.iter().for_each(|part| self.part(part, depth + 1));
            return;
        }
        let body = Transfer::declared(&headers).decoded(body);
        let is_typed = kind.essence == "message/disposition-notification";
        let is_text = kind.essence.starts_with("text/");
        if is_typed || (!is_text && !self.has_notification && mdn::looks_like(&body)) {
            if !self.is_typed {
                self.notification(&body);
                self.is_typed = is_typed;
            }
            return;
        }
        let is_plain = kind.essence.is_empty() || kind.essence == "text/plain";
        if !(is_plain || is_text) || kind.essence == "text/rfc822-headers" {
            return;
        }
        if self.mdn.human_message.is_none() || (is_plain && self.is_second_choice) {
            let charset = kind.parameter("charset").unwrap_or_default();
            let text = words::decode_charset(charset, &body);
            self.mdn.human_message = Some(cut(text, cut::HUMAN_MESSAGE));
            self.is_second_choice = !is_plain;
        }
    }

    /// A notification that was declared as plain text.
    fn search_human_message(&mut self) {
        if let Some(text) = self.mdn.human_message.clone()
            && mdn::looks_like(text.as_bytes())
        {
            self.notification(text.as_bytes());
        }
    }

    fn notification(&mut self, body: &[u8]) {
        self.has_notification = true;
        // Nothing may stay of one that was only guessed.
        let human_message = self.mdn.human_message.take();
        self.mdn = Mdn { human_message, ..Mdn::default() };
        mdn::read(body, &mut self.mdn);
    }
}
