//! The tap in a Pingora proxy of your own: five calls in its hooks, and its AS2 traffic has webhooks.
//!
//! `cargo run --example own_proxy -- as2hook.yaml LISTEN UPSTREAM`, with two addresses such as
//! `127.0.0.1:8080`. Of the config it takes everything but `receiver` and the other listeners than `admin`.

use std::{error::Error, net::SocketAddr, path::Path, time::Duration};

use as2hook_api::serve_tap;
use as2hook_as2::Headers;
use as2hook_config::Plugins;
use as2hook_event::{Direction, SendError, Stage};
use as2hook_tap::{Exchange, RequestHead, ResponseHead, RunningTap, Tap};
use async_trait::async_trait;
use bytes::Bytes;
use pingora::{
    Error as PingoraError, ErrorSource, ErrorType, Result,
    http::ResponseHeader,
    proxy::{ProxyHttp, Session, http_proxy_service},
    server::{RunArgs, Server, configuration::ServerConf},
    upstreams::peer::HttpPeer,
};
use tokio::net::TcpListener;

struct MyProxy {
    upstream: SocketAddr,
    running: RunningTap,
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
        let mut exchange = self.running.tap.begin(RequestHead {
            direction: Direction::Inbound,
            method: request.method.to_string(),
            peer: session.client_addr().and_then(|addr| addr.as_inet()).map(|addr| addr.ip()),
            headers,
        });
        // Its memory counts against `limits.memory` until its verdict is written down.
        let limit = self.running.rules.in_force().rules.config.limits.memory;
        let Some(share) = self.running.tap.memory().take(exchange.memory(), limit) else {
            return Err(PingoraError::explain(ErrorType::HTTPStatus(503), "limits.memory"));
        };
        exchange.hold(share);
        *ctx = Some(exchange);
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
        response: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        // 3. The response's head.
        let mut headers = Headers::new();
        for (name, value) in response.case_header_iter() {
            headers.push(String::from_utf8_lossy(name.as_slice()), value.as_bytes());
        }
        if let Some(exchange) = ctx {
            let head = ResponseHead { status: response.status.as_u16(), headers };
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

    async fn logging(&self, _: &mut Session, error: Option<&PingoraError>, ctx: &mut Self::CTX) {
        // 5. It is over: the verdict is written down beside the traffic.
        let Some(exchange) = ctx.take() else { return };
        match error.filter(|error| *error.esource() == ErrorSource::Upstream) {
            Some(error) => exchange.fail(SendError {
                stage: match error.etype() {
                    ErrorType::ConnectTimedout | ErrorType::ReadTimedout => Stage::Timeout,
                    ErrorType::ConnectRefused | ErrorType::ConnectNoRoute => Stage::Connect,
                    _ => Stage::Http,
                },
                http_status: None,
                message: error.to_string(),
            }),
            None => exchange.end(),
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
    let running = runtime.block_on(start_tap(config.as_ref()))?;
    let conf = ServerConf { grace_period_seconds: Some(10), ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let proxy = MyProxy { upstream, running: running.clone() };
    let mut service = http_proxy_service(&server.configuration, proxy);
    service.add_tcp(listen);
    server.add_service(service);
    // Until SIGTERM, and the grace period after it; the tap stops behind the proxy.
    server.run(RunArgs::default());
    runtime.block_on(running.shutdown(Duration::from_secs(30)));
    Ok(())
}

/// All that is behind the tap: store, deliveries, reload, timers, retention; and the admin API.
async fn start_tap(config: &Path) -> Result<RunningTap, Box<dyn Error>> {
    let running = Tap::from_config(config, Plugins::default()).await?;
    let rules = running.rules.in_force().rules.clone();
    let admin = TcpListener::bind(rules.config.listen.admin.address).await?;
    tokio::spawn(serve_tap(admin, running.clone()));
    Ok(running)
}
