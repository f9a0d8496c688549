//! A whole exchange on this machine: ACME sends an invoice, signed and encrypted, through as2hook to
//! the AS2 server of MY-OWN-ORG, and three webhooks report it.
//!
//! Run by `./quickstart.sh`, which builds the gateway too. Everything it makes stands in
//! `work` beside this file afterwards.

mod show;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use as2hook_testing::endpoint::TooFew;
use as2hook_testing::gateway::StartError;
use as2hook_testing::message::Built;
use as2hook_testing::{
    Content, Digest, Endpoint, Gateway, Mdn, Message, Part, Post, Receipt, Reply, Request,
    Response, Running, pki, receiver, sink,
};

/// How long the webhooks may take. They come within milliseconds; a busy machine gets its time.
const PATIENCE: Duration = Duration::from_secs(120);

/// The file that ACME sends.
const INVOICE: &[u8] = include_bytes!("981712.xml");

/// The webhooks, in the order in which they are shown.
const PAYLOADS: [&str; 3] = ["headers", "json", "raw"];

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the work folder {} cannot be made: {source}", folder.display())]
    Folder { folder: PathBuf, source: io::Error },
    #[error("the gateway is not built yet; ./quickstart.sh builds it and comes back here")]
    Unbuilt,
    #[error("{0}")]
    Start(StartError),
    #[error("ACME could not send its message to the gateway: {source}; the gateway's log:\n{log}")]
    Send { source: io::Error, log: String },
    #[error("the gateway responded with {status} instead of the receiver's 200; its log:\n{log}")]
    Refused { status: u16, log: String },
    #[error("the AS2 server did not get the message byte for byte; the gateway's log:\n{log}")]
    Changed { log: String },
    #[error("not every webhook came: {source}; the gateway's log:\n{log}")]
    Webhooks { source: TooFew, log: String },
    #[error("a webhook is not as it should be: {what}; the gateway's log:\n{log}")]
    Wrong { what: String, log: String },
    #[error("the gateway did not stop within {0:?} of SIGTERM")]
    Stop(Duration),
    #[error("standard output cannot be written: {0}")]
    Output(#[from] io::Error),
}

fn main() -> ExitCode {
    match run(&mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // There is nowhere left to report that even this failed.
            drop(writeln!(io::stderr(), "\nThe quickstart failed: {failure}"));
            ExitCode::FAILURE
        }
    }
}

fn run(out: &mut dyn Write) -> Result<(), Failure> {
    writeln!(out, "\nas2hook: a whole exchange on this machine\n")?;

    let folder = work_folder()?;
    let invoice = invoice();
    let server = receiver().respond(Response::mdn(receipt(&invoice))).start();
    show::step(out, 1, "The AS2 server of MY-OWN-ORG (a stand-in)", &server.url("/as2"))?;

    let webhooks = sink().start();
    show::step(out, 2, "An endpoint for webhooks", &webhooks.url("/webhook/..."))?;

    let mut gateway = gateway(folder, &server, &webhooks)?;
    let listening = gateway.inbound().url("/as2");
    show::step(out, 3, "as2hook, in front of the AS2 server", &listening)?;
    show::note(out, &format!("its config and keys: {}", show::short(gateway.folder())))?;

    let from = "ACME sends invoice 981712, signed and encrypted";
    show::step(out, 4, from, &format!("{} bytes", invoice.body.len()))?;
    let response = send(&gateway, &invoice)?;
    let responded = Instant::now();
    show::note(
        out,
        &format!("response {} with the receipt: {}", response.status, describe(&response)),
    )?;
    if !server.requests().iter().any(|got| got.body.bytes == invoice.body) {
        return Err(Failure::Changed { log: show::tail(&gateway.log()) });
    }
    show::note(out, "the AS2 server got it byte for byte")?;

    let came = notified(&gateway, &webhooks)?;
    let last = came.iter().map(|request| request.began.saturating_duration_since(responded)).max();
    let last = format!("{} ms after the response", last.unwrap_or_default().as_millis());
    show::step(out, 5, "Three webhooks came out of it", &last)?;
    for (payload, request) in PAYLOADS.iter().zip(&came) {
        show::webhook(out, payload, request)?;
    }
    if let Some(what) = wrong(&came) {
        return Err(Failure::Wrong { what, log: show::tail(&gateway.log()) });
    }

    let limit = Duration::from_secs(60);
    let ended = gateway.sigterm(limit)?;
    ended.ok_or(Failure::Stop(limit))?;
    show::go_on(out, gateway.folder())?;
    Ok(())
}

/// An empty folder, beside this file, so that it is easily found and looked at.
fn work_folder() -> Result<PathBuf, Failure> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/quickstart/work");
    let emptied = match fs::remove_dir_all(&folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => fs::create_dir_all(&folder),
    };
    emptied.map_err(|source| Failure::Folder { folder: folder.clone(), source })?;
    Ok(folder)
}

/// The message: one file, signed by ACME, encrypted for MY-OWN-ORG.
fn invoice() -> Built {
    Message::new("ACME", "MY-OWN-ORG")
        .id("<AS2-1592209136307-2@ACME_MY-OWN-ORG>")
        .subject("Invoice #981712")
        .header("From", "sender@acme.example")
        .header("EDIINT-Features", "multiple-attachments, CEM")
        .receipt(Receipt::SignedSync(Digest::Sha256))
        .attach(Part::with_fields(
            &[
                ("Content-Type", "text/xml"),
                ("Content-Transfer-Encoding", "binary"),
                ("Content-Disposition", "attachment; filename=981712.xml"),
            ],
            Content::Bytes(INVOICE.to_vec()),
        ))
        .sign(pki::partner())
        .encrypt(pki::station())
        .build()
}

/// The AS2 server's response: a receipt, signed by MY-OWN-ORG.
fn receipt(message: &Built) -> Mdn {
    Mdn::processed().mic(&message.mic).sign(pki::station(), Digest::Sha256)
}

/// The gateway with three rules for one event. One is the rule that fires by itself; `route: always`
/// lets the other two fire besides.
fn gateway(folder: PathBuf, server: &Endpoint, sink: &Endpoint) -> Result<Running, Failure> {
    let gateway = Gateway::new()
        .folder(folder)
        .receiver(server)
        .station("MY-OWN-ORG", pki::station())
        .partner("ACME", pki::partner())
        .rule("acme-headers", |rule| {
            rule.set("partner", "ACME").to(sink, "/webhook/headers").payload("headers")
        })
        .rule("everything-json", |rule| rule.to(sink, "/webhook/json").payload("json").always())
        .rule("everything-raw", |rule| rule.to(sink, "/webhook/raw").payload("raw").always())
        .start();
    gateway.map_err(|error| match error {
        StartError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            Failure::Unbuilt
        }
        other => Failure::Start(other),
    })
}

fn send(gateway: &Running, message: &Built) -> Result<Reply, Failure> {
    let reply = gateway.inbound().send(&Post::message("/as2", message));
    let reply =
        reply.map_err(|source| Failure::Send { source, log: show::tail(&gateway.log()) })?;
    if reply.status == 200 {
        return Ok(reply);
    }
    Err(Failure::Refused { status: reply.status, log: show::tail(&gateway.log()) })
}

/// Waits for one webhook of each payload.
fn notified(gateway: &Running, sink: &Endpoint) -> Result<Vec<Arc<Request>>, Failure> {
    let mut came = Vec::new();
    for payload in PAYLOADS {
        let path = format!("/webhook/{payload}");
        let found = sink.wait_until(1, PATIENCE, |request| request.target() == path);
        let found = found
            .map_err(|source| Failure::Webhooks { source, log: show::tail(&gateway.log()) })?;
        came.extend(found.into_iter().next());
    }
    Ok(came)
}

/// What is wrong with the webhooks, if anything: an error in one, or another file than ACME's.
fn wrong(came: &[Arc<Request>]) -> Option<String> {
    if let Some(error) = came.iter().find_map(|request| request.header("X-Processing-Error")) {
        return Some(format!("X-Processing-Error: {error}"));
    }
    let raw = came.last().is_some_and(|request| request.body.bytes == INVOICE);
    (!raw).then(|| "the raw payload is not the file that ACME sent".to_owned())
}

/// The disposition in a receipt.
fn describe(reply: &Reply) -> String {
    let text = reply.text();
    let line = text.lines().find_map(|line| line.strip_prefix("Disposition: "));
    line.unwrap_or("none").to_owned()
}
