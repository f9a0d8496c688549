//! The tap in a Pingora proxy of your own: five calls in its hooks, and its AS2 traffic has webhooks.
//!
//! `cargo run --example own_proxy -- as2hook.yaml LISTEN UPSTREAM`, with two addresses such as
//! `127.0.0.1:8080`. Of the config it takes everything but `listen` and `receiver`.

use std::{error::Error, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use as2hook_as2::Headers;
use as2hook_config::{self as config, Plugins};
use as2hook_delivery::{Dispatcher, DispatcherOptions, Outbox, OutboxOptions, Wakeups};
use as2hook_event::Direction;
use as2hook_sink::Client;
use as2hook_store::{PayloadDir, Payloads, SecretKey, SqliteOptions, SqliteStore, Store};
use as2hook_tap::{Exchange, RequestHead, ResponseHead, Tap, TapRules};
use async_trait::async_trait;
use bytes::Bytes;
use pingora::{
    Error as PingoraError, ErrorType, Result,
    http::ResponseHeader,
    proxy::{ProxyHttp, Session, http_proxy_service},
    server::Server,
    upstreams::peer::HttpPeer,
};

struct MyProxy {
    upstream: SocketAddr,
    tap: Tap,
}

#[async_trait]
impl ProxyHttp for MyProxy {
    type CTX = Option<Exchange>;

    fn new_ctx(&self) -> Option<Exchange> {
        None
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut Self::CTX) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<bool> {
        // 1. The request's head.
        let request = session.req_header();
        let mut headers = Headers::new();
        for (name, value) in request.case_header_iter() {
            headers.push(String::from_utf8_lossy(name.as_slice()), value.as_bytes());
        }
        *ctx = Some(self.tap.begin(RequestHead {
            direction: Direction::Inbound,
            method: request.method.to_string(),
            peer: session.client_addr().and_then(|addr| addr.as_inet()).map(|addr| addr.ip()),
            headers,
        }));
        Ok(false)
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        // 2. Each piece of its body. At the end this returns when the event is on disk.
        if let Some(exchange) = ctx {
            let piece = body.clone().unwrap_or_default();
            let recorded = exchange.request(piece, end).await;
            recorded
                .map_err(|e| PingoraError::because(ErrorType::HTTPStatus(503), "as2hook", e))?;
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        _: &mut Session,
        answer: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        // 3. The response's head.
        let mut headers = Headers::new();
        for (name, value) in answer.case_header_iter() {
            headers.push(String::from_utf8_lossy(name.as_slice()), value.as_bytes());
        }
        if let Some(exchange) = ctx {
            let head = ResponseHead { status: answer.status.as_u16(), headers };
            let recorded = exchange.response_head(head).await;
            recorded
                .map_err(|e| PingoraError::because(ErrorType::HTTPStatus(503), "as2hook", e))?;
        }
        Ok(())
    }

    fn upstream_response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        ctx: &mut Self::CTX,
    ) -> Result<Option<Duration>> {
        // 4. Each piece of the response's body.
        if let (Some(exchange), Some(piece)) = (ctx, body) {
            exchange.response(piece);
        }
        Ok(None)
    }

    async fn logging(&self, _: &mut Session, _: Option<&PingoraError>, ctx: &mut Self::CTX) {
        // 5. It is over: the verdict is written down beside the traffic.
        if let Some(exchange) = ctx.take() {
            exchange.end();
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [config, listen, upstream] = args.as_slice() else {
        return Err("usage: own_proxy CONFIG LISTEN UPSTREAM".into());
    };
    let upstream = upstream.parse()?;
    // Pingora's server cannot live inside a runtime, so the tap gets its own.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // The dispatcher stops when it is dropped.
    let (tap, _dispatcher) =
        runtime.block_on(start_tap(config.into(), runtime.handle().clone()))?;
    let mut server = Server::new(None)?;
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, MyProxy { upstream, tap });
    service.add_tcp(listen);
    server.add_service(service);
    server.run_forever();
}

/// The rooms behind the tap: store, outbox, dispatcher.
async fn start_tap(
    config: PathBuf,
    runtime: tokio::runtime::Handle,
) -> Result<(Tap, Dispatcher), Box<dyn Error>> {
    let loaded = config::load(&config, &Plugins::default()).map_err(|mistakes| {
        let mistakes: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
        mistakes.join("\n")
    })?;
    let rules = Arc::new(TapRules::new(loaded.config, loaded.rules));
    let folder = config.with_file_name("own-proxy-data");
    let files = PayloadDir::open(&folder.join("payloads"))?;
    let payload_root = Some(files.root().to_owned());
    let options = SqliteOptions { payload_root, ..SqliteOptions::default() };
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&folder.join("as2hook.db"), &options)?);
    let key = SecretKey::open_or_make(&rules.config.secret_key_file)?;
    let payloads = Payloads::in_folder(files).with_key(key.of_payloads()?);
    payloads.claim(&*store).await?;
    let wakeups = Wakeups::new();
    let outbox = Outbox::new(store.clone(), wakeups.clone(), OutboxOptions::default());
    outbox.recover().await?;
    let client = Arc::new(Client::new().await?);
    let options = DispatcherOptions { payloads: payloads.clone(), ..Default::default() };
    let dispatcher =
        Dispatcher::start(store, client.into(), rules.clone(), None, wakeups, options).await?;
    Ok((Tap::new(rules, outbox, payloads, runtime)?, dispatcher))
}
