//! A Pingora proxy that does nothing but pass on: what as2hook is held against where it has nothing to
//! decode. The same allocator, threads, time-outs and kept connections as `as2hook run` has.
//!
//! `cargo run --release --example bare_proxy -- LISTEN UPSTREAM`, with two addresses such as
//! `127.0.0.1:8080`.

// For its allocator.
use as2hook as _;
use async_trait::async_trait;
use pingora::{
    Result,
    proxy::{ProxyHttp, Session, http_proxy_service},
    server::{Server, configuration::ServerConf},
    upstreams::peer::{HttpPeer, Peer as _},
};
use std::{error::Error, net::SocketAddr, thread::available_parallelism, time::Duration};

struct Bare {
    upstream: SocketAddr,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        let mut peer = HttpPeer::new(self.upstream, false, String::new());
        if let Some(options) = peer.get_mut_peer_options() {
            options.connection_timeout = Some(Duration::from_secs(10));
            options.total_connection_timeout = Some(Duration::from_secs(10));
            options.read_timeout = Some(Duration::from_secs(300));
            options.write_timeout = Some(Duration::from_secs(60));
            options.idle_timeout = Some(Duration::from_secs(4));
        }
        Ok(Box::new(peer))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [listen, upstream] = args.as_slice() else {
        return Err("usage: bare_proxy LISTEN UPSTREAM".into());
    };
    let conf = ServerConf {
        threads: available_parallelism().map_or(2, usize::from),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let bare = Bare { upstream: upstream.parse()? };
    let mut service = http_proxy_service(&server.configuration, bare);
    service.add_tcp(listen);
    server.add_service(service);
    server.run_forever();
}
