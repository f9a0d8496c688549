//! `as2hook healthcheck`: whether the running gateway should get traffic, for containers and monitors.

use std::{io::Write, path::PathBuf, time::Duration};

use as2hook_config::Plugins;
use bytes::Bytes;
use http::Uri;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_openssl::client::legacy::HttpsConnector;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use openssl::ssl::{SslConnector, SslMethod};
use tokio::{runtime, time::timeout};

use super::{
    CommandError,
    remote::{admin_address, config_file},
    terminal::printable,
};

/// Asks /readyz of the gateway's admin listener: exit status 0 when the gateway should get traffic, else 1 and the
/// reason.
#[derive(Clone, Debug, clap::Args)]
pub struct Healthcheck {
    /// The gateway's config file, for the address of its admin listener [default: conf/as2hook.yaml].
    #[arg(short, long, value_name = "FILE", conflicts_with = "url")]
    config: Option<PathBuf>,
    /// What is asked instead, such as http://127.0.0.1:8081/readyz. Of https, the system's roots are trusted, or
    /// those of the file in the variable SSL_CERT_FILE.
    #[arg(long, value_name = "URL")]
    url: Option<Uri>,
    /// How long the response may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    timeout: u64,
}

/// The largest response that is read, in bytes.
const BODY_MAX: usize = 64 * 1024;

// === impl Healthcheck ===

impl Healthcheck {
    /// Remarks of a gateway that is ready go to `out`.
    ///
    /// # Errors
    /// When the gateway is not ready, or cannot be asked.
    pub fn run(self, plugins: &Plugins, out: &mut dyn Write) -> Result<(), CommandError> {
        let url = match self.url {
            Some(url) => url,
            None => {
                let file = config_file(self.config.as_deref());
                let address = admin_address(&file, plugins)?;
                format!("http://{address}/readyz").parse().map_err(|error| {
                    CommandError::Failed(format!("{address} cannot be asked: {error}"))
                })?
            }
        };
        if !matches!(url.scheme_str(), Some("http" | "https")) {
            return Err(CommandError::Usage("--url: a URL such as http://127.0.0.1:8081/readyz"));
        }
        let within = Duration::from_secs(self.timeout);
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let asked = runtime.block_on(async { timeout(within, ask(url.clone())).await });
        let (is_ready, body) = match asked {
            Ok(Ok(response)) => response,
            Ok(Err(why)) => {
                return Err(CommandError::Failed(format!("{url} cannot be asked: {why}")));
            }
            Err(_) => {
                let seconds = self.timeout;
                return Err(CommandError::Failed(format!(
                    "{url} did not respond within {seconds} s"
                )));
            }
        };
        let lines: Vec<_> = body.lines().map(printable).collect();
        if !is_ready {
            let reasons = lines.join("\n");
            return Err(CommandError::Failed(format!(
                "{url}: the gateway is not ready: {reasons}"
            )));
        }
        for line in lines {
            writeln!(out, "{line}")?;
        }
        Ok(())
    }
}

/// Returns whether the status is a success, and the body.
async fn ask(url: Uri) -> Result<(bool, String), String> {
    let response = client()?.get(url).await.map_err(|error| {
        // What went wrong is the innermost error: refused, a name unknown, a certificate.
        let mut innermost: &dyn std::error::Error = &error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        innermost.to_string()
    })?;
    let is_success = response.status().is_success();
    let body = Limited::new(response.into_body(), BODY_MAX).collect().await;
    let body = body.map_err(|error| error.to_string())?.to_bytes();
    Ok((is_success, String::from_utf8_lossy(&body).into_owned()))
}

fn client() -> Result<Client<HttpsConnector<HttpConnector>, Empty<Bytes>>, String> {
    let tls = SslConnector::builder(SslMethod::tls_client()).map_err(|error| error.to_string())?;
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    let https = HttpsConnector::with_connector(http, tls).map_err(|error| error.to_string())?;
    Ok(Client::builder(TokioExecutor::new()).build(https))
}
