//! `as2hook listen`: an endpoint on this machine to try webhooks with.

use std::{
    convert::Infallible,
    fs,
    io::Write,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use as2hook_event::{Secret, SecretString, rule::BadSecret};
use bytes::Bytes;
use http::{Request, Response, StatusCode, request::Parts};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    pin, runtime, select,
    signal::ctrl_c,
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};

use super::{CommandError, secret};

mod report;

/// Takes webhooks on this machine, and prints each and whether its signature is valid.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The port; 0 takes a free one.
    #[arg(long, value_name = "N", default_value_t = 8090)]
    port: u16,
    /// The secret of the webhook. Left out: a new one, which is printed.
    #[arg(long, value_name = "SECRET")]
    secret: Option<SecretString>,
    /// The file of the secret, which other users then do not see in the list of processes.
    #[arg(long, value_name = "FILE", conflicts_with = "secret")]
    secret_file: Option<PathBuf>,
}

/// The largest body that is read, in bytes. Signatures are verified over all of it.
const BODY_MAX: usize = 16 * 1024 * 1024;
/// The most header fields of a request: the passed ones have 64 KiB, each counted with 32 bytes more.
const FIELDS: usize = 2200;
/// The read buffer of a connection, which limits the head.
const HEAD_MAX: usize = 256 * 1024;
/// The limit of a whole connection. Each has one request.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);
/// The most connections at once, as many as a rule has attempts by default. Others wait to be accepted.
const CONNECTIONS: usize = 16;

// === impl Args ===

impl Args {
    /// What came goes to `out`, until Ctrl-C.
    ///
    /// # Errors
    /// When the secret cannot be a key, the port is not free, or `out` cannot be written to.
    pub fn run(self, out: &mut dyn Write) -> Result<(), CommandError> {
        let (text, has_rule) = match (self.secret, self.secret_file) {
            (Some(text), _) => (text.expose().to_owned(), false),
            // A rule names the same file.
            (None, Some(file)) => (read_secret(&file)?, true),
            (None, None) => (secret::generate()?, false),
        };
        let secret = Secret::parse(&text).map_err(|error| match error {
            BadSecret::NotBase64 => CommandError::Usage("--secret: after whsec_ comes base64"),
            BadSecret::Empty => CommandError::Usage("--secret: a secret must not be empty"),
        })?;
        runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
            let listener = TcpListener::bind(address).await.map_err(|error| {
                let hint = "choose another port with --port, or --port 0 for a free one";
                CommandError::Failed(format!("{address} cannot be listened on: {error}; {hint}"))
            })?;
            let own_secret = (!has_rule).then_some(text.as_str());
            out.write_all(report::start(listener.local_addr()?, own_secret).as_bytes())?;
            out.flush()?;
            serve(&listener, &Arc::new(secret), out).await
        })
    }
}

fn read_secret(path: &Path) -> Result<String, CommandError> {
    let text = fs::read_to_string(path).map_err(|error| {
        CommandError::Failed(format!("{} cannot be read: {error}", path.display()))
    })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

async fn serve(
    listener: &TcpListener,
    secret: &Arc<Secret>,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let (reports, mut reported) = mpsc::channel::<String>(1);
    let mut connections = JoinSet::new();
    let interrupted = ctrl_c();
    pin!(interrupted);
    loop {
        select! {
            interrupted = &mut interrupted => return Ok(interrupted?),
            Some(report) = reported.recv() => {
                out.write_all(report.as_bytes())?;
                out.flush()?;
            }
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => {
                let (stream, _) = accepted?;
                connections.spawn(connection(stream, secret.clone(), reports.clone()));
            }
        }
    }
}

/// Serves one request, within one deadline.
async fn connection(stream: TcpStream, secret: Arc<Secret>, reports: mpsc::Sender<String>) {
    let service = service_fn(|request| respond(request, &secret, &reports));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .max_headers(FIELDS)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let error = match timeout(CONNECTION_TIMEOUT, served).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("it took more than {} s", CONNECTION_TIMEOUT.as_secs()),
    };
    // The receiver is there as long as connections are.
    let _ = reports.send(report::failure(&error)).await;
}

/// Reports the request, and then responds.
async fn respond(
    request: Request<Incoming>,
    secret: &Secret,
    reports: &mpsc::Sender<String>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (head, body): (Parts, Incoming) = request.into_parts();
    let (status, report) = match Limited::new(body, BODY_MAX).collect().await {
        Ok(body) => {
            let now = jiff::Timestamp::now();
            (StatusCode::OK, report::request(&head, &body.to_bytes(), secret, now))
        }
        Err(error) if error.is::<LengthLimitError>() => (
            StatusCode::PAYLOAD_TOO_LARGE,
            report::failure(&format!("its body has more than {} MiB", BODY_MAX >> 20)),
        ),
        Err(_) => (StatusCode::BAD_REQUEST, report::failure("its body did not come to its end")),
    };
    let _ = reports.send(report).await;
    let mut response = Response::new(Empty::new());
    *response.status_mut() = status;
    Ok(response)
}
