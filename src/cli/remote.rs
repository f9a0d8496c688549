//! The running gateway's admin API: where it is, the token, requests, and errors in words.

use std::{
    env, fs,
    io::Write,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use as2hook_config::Plugins;
use bytes::Bytes;
use http::{
    HeaderValue, Request, StatusCode, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::{net::TcpStream, runtime, time::timeout};

use super::{
    CommandError,
    terminal::{printable, safe_json},
};

const TOKEN: &str = "AS2HOOK_TOKEN";
const CONFIG: &str = "conf/as2hook.yaml";

/// The limit of a whole request: a little more than the gateway's own.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(65);
/// The limit of a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest body that is read, in bytes.
const BODY_MAX: usize = 64 * 1024 * 1024;

/// Which gateway is asked, and how its responses are printed.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct RemoteArgs {
    /// The gateway's config file, for the address of its admin listener [default: conf/as2hook.yaml].
    #[arg(short, long, value_name = "FILE", conflicts_with = "admin")]
    config: Option<PathBuf>,
    /// The URL of the gateway's admin listener, such as http://127.0.0.1:8081.
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
    /// The file of the API token [default: the variable AS2HOOK_TOKEN].
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Prints the JSON of the API.
    #[arg(long)]
    pub(super) json: bool,
}

/// The admin API of a gateway, with a token.
pub(super) struct AdminClient {
    authority: String,
    /// Where the address comes from.
    source: String,
    token: HeaderValue,
    token_source: String,
    is_json: bool,
}

// === impl RemoteArgs ===

impl RemoteArgs {
    /// # Errors
    /// When there is no address or no token.
    pub(super) fn client(&self, plugins: &Plugins) -> Result<AdminClient, CommandError> {
        let (authority, source) = match &self.admin {
            Some(url) => (authority(url)?, "--admin".to_owned()),
            None => self.configured(plugins)?,
        };
        let (token, token_source) = self.token()?;
        let token = HeaderValue::from_str(&format!("Bearer {token}"));
        let token = token.map_err(|_| {
            CommandError::Failed(format!("the token of {token_source} has an illegal character"))
        })?;
        Ok(AdminClient { authority, source, token, token_source, is_json: self.json })
    }

    fn configured(&self, plugins: &Plugins) -> Result<(String, String), CommandError> {
        let file = config_file(self.config.as_deref());
        let address = admin_address(&file, plugins)?;
        Ok((address.to_string(), format!("listen.admin of {}", file.display())))
    }

    fn token(&self) -> Result<(String, String), CommandError> {
        let (token, source) = match &self.token_file {
            Some(file) => {
                let token = fs::read_to_string(file).map_err(|error| {
                    let file = file.display();
                    CommandError::Failed(format!("{file} cannot be read: {error}"))
                })?;
                (token, file.display().to_string())
            }
            None => (env::var(TOKEN).unwrap_or_default(), TOKEN.to_owned()),
        };
        let token = token.trim().to_owned();
        if token.is_empty() {
            let what = "there is no API token: put it into AS2HOOK_TOKEN, or name its file with \
                        --token-file";
            return Err(CommandError::Usage(what));
        }
        Ok((token, source))
    }
}

/// Returns the config file that was named, or that in the folder `conf`.
pub(super) fn config_file(named: Option<&Path>) -> PathBuf {
    named.unwrap_or(Path::new(CONFIG)).to_owned()
}

/// Returns the address of the admin listener of this config.
///
/// # Errors
/// When the config has a mistake.
pub(super) fn admin_address(file: &Path, plugins: &Plugins) -> Result<SocketAddr, CommandError> {
    let loaded = as2hook_config::load(file, plugins).map_err(|mistakes| {
        let first = mistakes.first().map(ToString::to_string).unwrap_or_default();
        CommandError::Failed(format!(
            "{} cannot be used ({first}): name the config with -c FILE, or the URL of the gateway's \
             admin listener",
            file.display()
        ))
    })?;
    Ok(reachable(loaded.config.listen.admin.address))
}

/// Returns an address that a client can connect to: of a wildcard, loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn authority(url: &str) -> Result<String, CommandError> {
    let uri = url.parse::<Uri>().ok();
    if uri.as_ref().is_some_and(|uri| uri.scheme_str() == Some("https")) {
        let what = "--admin: the admin listener has no TLS, so its URL begins with http://; reach a \
                    distant one through a tunnel, since the token is sent as it is";
        return Err(CommandError::Usage(what));
    }
    let is_plain = |uri: &Uri| {
        matches!(uri.scheme_str(), None | Some("http")) && matches!(uri.path(), "" | "/")
    };
    let authority = uri.filter(is_plain).and_then(|uri| uri.authority().cloned());
    match authority.filter(|authority| !authority.as_str().contains('@')) {
        Some(authority) if authority.port().is_some() => Ok(authority.to_string()),
        Some(authority) => Ok(format!("{authority}:80")),
        None => Err(CommandError::Usage("--admin: a URL such as http://127.0.0.1:8081")),
    }
}

/// Returns a path and its query; values are escaped.
pub(super) fn with_query(path: &str, pairs: &[(&str, String)]) -> String {
    let pair = |(name, value): &(&str, String)| format!("{name}={}", escaped(value));
    let query: Vec<_> = pairs.iter().map(pair).collect();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) }
}

/// Returns a segment of a path, or a value of a query, as it stands in a URL.
pub(super) fn escaped(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

// === impl AdminClient ===

impl AdminClient {
    /// Reads something: scope read.
    pub(super) fn get(&self, path: &str) -> Result<Bytes, CommandError> {
        self.call("GET", path, None)?.success()
    }

    /// Changes something: scope admin.
    pub(super) fn post(&self, path: &str, body: Option<&Value>) -> Result<Bytes, CommandError> {
        self.call("POST", path, body)?.success()
    }

    /// Prints a response as it came, or for people.
    pub(super) fn print(
        &self,
        body: &Bytes,
        out: &mut dyn Write,
        people: impl FnOnce(&Value, &mut dyn Write) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let value = json(body)?;
        if self.is_json {
            return Ok(writeln!(out, "{}", safe_json(&String::from_utf8_lossy(body)))?);
        }
        people(&value, out)
    }

    /// Makes a request. A response that says no is an error already, but for what the endpoint of a
    /// test did.
    pub(super) fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response, CommandError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.authority)
            .header(AUTHORIZATION, self.token.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body.map(Value::to_string).unwrap_or_default().into()))
            .map_err(|error| {
                CommandError::Failed(format!("{path} cannot be asked for: {error}"))
            })?;
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let exchanged =
            runtime.block_on(async { timeout(REQUEST_TIMEOUT, self.exchange(request)).await });
        let late = || {
            CommandError::Failed(format!(
                "the gateway at {} did not respond in time; what was asked for goes on all the same: look with \
                 as2hook deliveries",
                self.authority
            ))
        };
        let response = exchanged.map_err(|_| late())??;
        match response.status {
            StatusCode::REQUEST_TIMEOUT => Err(late()),
            StatusCode::UNAUTHORIZED => Err(CommandError::Failed(format!(
                "the gateway at {} does not know the token of {}: its digest, as `as2hook hash-token` \
                 prints it, must stand in api.tokens of the gateway's config",
                self.authority, self.token_source
            ))),
            StatusCode::FORBIDDEN => {
                let scope = if method == "GET" { "read" } else { "admin" };
                Err(CommandError::Failed(format!(
                    "the token of {} may not do this: it needs the scope {scope}, in api.tokens of the \
                     gateway's config",
                    self.token_source
                )))
            }
            _ => Ok(response),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Response, CommandError> {
        let Self { authority, source, .. } = self;
        let unreachable = |why: String| {
            CommandError::Failed(format!(
                "no gateway can be reached at {authority} ({why}): is it running? The address is that of \
                 {source}"
            ))
        };
        let broken = |what: String| {
            CommandError::Failed(format!("the gateway at {authority} did not respond: {what}"))
        };
        let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(authority.as_str())).await;
        let stream = stream.map_err(|_| unreachable("no connection in time".to_owned()))?;
        let stream = stream.map_err(|error| unreachable(error.to_string()))?;
        let (mut sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| broken(error.to_string()))?;
        tokio::spawn(connection);
        let response =
            sender.send_request(request).await.map_err(|error| broken(error.to_string()))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, BODY_MAX).collect().await;
        let body = body.map_err(|error| broken(error.to_string()))?.to_bytes();
        Ok(Response { status: head.status, body })
    }
}

/// A response of the admin API.
pub(super) struct Response {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

// === impl Response ===

impl Response {
    /// # Errors
    /// The API's message, if the response is one.
    pub(super) fn success(self) -> Result<Bytes, CommandError> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let status = self.status;
        Err(CommandError::Failed(match body["msg"].as_str() {
            Some(message) if status == StatusCode::NOT_FOUND => format!(
                "the gateway refused: {} (404); the token's site has none of this name or number",
                printable(message)
            ),
            Some(message) => {
                format!("the gateway refused: {} ({})", printable(message), status.as_u16())
            }
            None => format!("the response is {status}: is it an as2hook at this address?"),
        }))
    }
}

/// # Errors
/// When the response is not of an as2hook.
pub(super) fn json(body: &Bytes) -> Result<Value, CommandError> {
    let what = "the response is no JSON: is it an as2hook at this address?";
    serde_json::from_slice(body).map_err(|_| CommandError::Failed(what.to_owned()))
}

/// Returns a value of the API's JSON as one line; `-` if there is none.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => printable(text),
        other => printable(&other.to_string()),
    }
}

/// Returns a time to the second.
pub(super) fn time(value: &Value) -> String {
    let Some(time) = value.as_str().and_then(|time| time.parse::<jiff::Timestamp>().ok()) else {
        return text(value);
    };
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcard_address_is_loopback() {
        for (address, reached) in [
            ("0.0.0.0:81", "127.0.0.1:81"),
            ("[::]:81", "[::1]:81"),
            ("192.0.2.1:81", "192.0.2.1:81"),
        ] {
            assert_eq!(reachable(address.parse().unwrap()).to_string(), reached);
        }
    }

    #[test]
    fn admin_url_is_a_host_and_a_port_alone() {
        assert_eq!(authority("http://127.0.0.1:8081/").unwrap(), "127.0.0.1:8081");
        assert_eq!(authority("as2-1:8081").unwrap(), "as2-1:8081");
        assert_eq!(authority("http://as2-1").unwrap(), "as2-1:80");
        for wrong in ["https://a:1", "ftp://a:1", "http://a:1/x", "http://u:p@a:1", "", "/x"] {
            assert!(matches!(authority(wrong), Err(CommandError::Usage(_))), "{wrong}");
        }
    }
}
