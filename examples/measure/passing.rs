//! Traffic that as2hook does not decode, beside a bare Pingora proxy built the same way, and beside
//! nginx. All of them keep their connections, and take turns on the first core; the sender and the
//! receiver have the second.

use std::{
    error::Error,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use as2hook_testing::{
    Client, Gateway,
    gateway::{built_binary, free_address, wait_until},
    load::{Load, Server, Spread},
    process,
};

use super::{Extent, compared::median, partner, table::Table};

/// Bytes of a request's body.
const SIZE: usize = 10_000;
/// Connections that keep the proxies busy.
const BUSY: usize = 16;

/// A proxy's process. Killed when dropped.
pub(crate) struct Proxy {
    what: &'static str,
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    _folder: tempfile::TempDir,
}

/// This process, on fewer cores until it is dropped.
struct Pinned {
    before: String,
}

/// All rounds of one proxy.
#[derive(Default)]
struct Rounds {
    rates: Vec<f64>,
    cpu: Vec<f64>,
    alone: Vec<Duration>,
}

/// Rows: requests a second and CPU each, held against the bare proxy; one connection's median, held
/// against nginx.
pub(crate) fn measure(extent: Extent, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let receiver = partner::receiver();
    let gateway = Gateway::new()
        .receiver_url(&receiver.url(""))
        .receiver_set("keepalive", "on")
        .rule("none", |rule| rule.url(receiver.url("/")).set("enabled", "false"))
        .start()?;
    let gateway_pid = gateway.pid().ok_or("the gateway is not running")?;
    let (bare, nginx) = (bare(&receiver)?, nginx(&receiver)?);
    let mut places = vec![
        ("as2hook", gateway.inbound().address(), gateway_pid),
        (bare.what, bare.address, bare.child.id()),
        (nginx.what, nginx.address, nginx.child.id()),
    ];
    for (_, _, pid) in &places {
        pin(*pid, "0")?;
    }
    let whole = Pinned::to("1")?;
    let mut request = b"POST /as2 HTTP/1.1\r\nHost: as2.example\r\nUser-Agent: measure\r\n\
        Content-Type: application/octet-stream\r\nContent-Length: "
        .to_vec();
    request.extend_from_slice(format!("{SIZE}\r\n\r\n").as_bytes());
    request.resize(request.len() + SIZE, b'x');
    let mut rounds = places.iter().map(|(what, ..)| (*what, Rounds::default())).collect::<Vec<_>>();
    for _ in 0..extent.rounds {
        for &(what, address, pid) in &places {
            let known = rounds.iter_mut().find(|(known, _)| *known == what);
            let (_, rounds) = known.ok_or("an unknown proxy")?;
            rounds.add(address, pid, extent, &request)?;
        }
        // The order is reversed each time, so that none always has the quiet moment.
        places.rotate_left(1);
    }
    drop(whole);
    let [(_, as2hook), (_, bare), (_, nginx)] = rounds.as_slice() else {
        return Err("three proxies were measured".into());
    };
    for (what, rounds) in [("as2hook", as2hook), ("bare Pingora", bare), ("nginx", nginx)] {
        let (rate, cpu) = (median(&rounds.rates), median(&rounds.cpu));
        let figure = format!("{rate:.0}/s, {:.1} µs CPU each", cpu * 1e6);
        table.figure(format!("{what}, 10 KB over {BUSY} connections"), figure);
        let alone = Spread::of(rounds.alone.clone()).p50();
        table.figure(format!("{what}, one connection, p50"), format!("{} µs", alone.as_micros()));
    }
    let ratios = as2hook.rates.iter().zip(&bare.rates).map(|(ours, theirs)| ours / theirs);
    let requests = median(&ratios.collect::<Vec<_>>());
    table.ratio("requests/s of a bare Pingora proxy's", requests, 0.95, true);
    let ratios = as2hook.cpu.iter().zip(&bare.cpu).map(|(ours, theirs)| ours / theirs);
    let cpu = median(&ratios.collect::<Vec<_>>());
    table.figure("CPU each, of a bare Pingora proxy's", format!("{:.1} %", cpu * 100.0));
    let p50 = |rounds: &Rounds| Spread::of(rounds.alone.clone()).p50().as_secs_f64();
    table.ratio("one connection's p50, of nginx's", p50(as2hook) / p50(nginx), 1.1, false);
    table.figure(
        "one connection's p50, of a bare Pingora proxy's",
        format!("{:.1} %", p50(as2hook) / p50(bare) * 100.0),
    );
    Ok(())
}

// === impl Pinned ===

impl Pinned {
    fn to(cores: &str) -> Result<Self, Box<dyn Error>> {
        let all = fs::read_to_string("/proc/self/status")?;
        let all = all.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        let before = all.ok_or("the system does not tell our cores")?.trim().to_owned();
        pin(std::process::id(), cores)?;
        Ok(Self { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // What was allowed before is allowed again.
        let _ = pin(std::process::id(), &self.before);
    }
}

// === impl Rounds ===

impl Rounds {
    fn add(
        &mut self,
        address: SocketAddr,
        pid: u32,
        extent: Extent,
        request: &[u8],
    ) -> Result<(), Box<dyn Error>> {
        let lasting = Duration::from_secs(u64::from(extent.seconds));
        let run = |connections, lasting| {
            let load = Load::at_full_speed(connections, lasting);
            load.run(address, |_, out| out.extend_from_slice(request)).all_good()
        };
        self.alone.extend(run(1, lasting / 2)?.took());
        let before = process::cpu_time(pid)?;
        let busy = run(BUSY, lasting)?;
        let used = process::cpu_time(pid)?.saturating_sub(before);
        self.rates.push(busy.rate());
        #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
        self.cpu.push(used.as_secs_f64() / busy.all.len() as f64);
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may have ended by itself, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Gives all threads of a process these cores and no other.
fn pin(pid: u32, cores: &str) -> Result<(), Box<dyn Error>> {
    let args = ["-a", "-p", "-c", cores, &pid.to_string()];
    let pinned = Command::new("taskset").args(args).stdout(Stdio::null()).status();
    let pinned = pinned.map_err(|e| format!("taskset (of util-linux) cannot be run: {e}"))?;
    if pinned.success() {
        Ok(())
    } else {
        Err(format!("there is no core {cores} to pin to").into())
    }
}

/// Starts `examples/bare_proxy` in front of this server.
pub(crate) fn bare(receiver: &Server) -> Result<Proxy, Box<dyn Error>> {
    let binary = beside("examples/bare_proxy");
    if !binary.exists() {
        return Err("bare_proxy is not built: cargo build --release --example bare_proxy".into());
    }
    let address = free_address();
    let mut command = Command::new(binary);
    command.arg(address.to_string()).arg(receiver.address().to_string());
    start("bare Pingora", command, address, tempfile::tempdir()?)
}

/// One worker, streaming, connections kept on both sides, no log.
fn nginx(receiver: &Server) -> Result<Proxy, Box<dyn Error>> {
    let Some(binary) = ["/usr/sbin/nginx", "/usr/bin/nginx", "/usr/local/sbin/nginx"]
        .into_iter()
        .find(|path| Path::new(path).exists())
    else {
        return Err("nginx is not installed, and one bar is its latency: \
            apt-get install nginx-light"
            .into());
    };
    let (address, folder) = (free_address(), tempfile::tempdir()?);
    let config = format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr error;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; keepalive_requests 1000000000;\n\
         client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;\n\
         uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n\
         upstream receiver {{ server {}; keepalive 64; keepalive_requests 1000000000; }}\n\
         server {{ listen {address}; client_body_buffer_size 64k;\n\
         location / {{ proxy_pass http://receiver; proxy_http_version 1.1;\n\
         proxy_set_header Connection \"\"; proxy_request_buffering off; }} }} }}\n",
        receiver.address(),
    );
    fs::write(folder.path().join("nginx.conf"), config)?;
    let mut command = Command::new(binary);
    command.arg("-p").arg(folder.path()).arg("-c").arg(folder.path().join("nginx.conf"));
    start("nginx", command, address, folder)
}

fn start(
    what: &'static str,
    mut command: Command,
    address: SocketAddr,
    folder: tempfile::TempDir,
) -> Result<Proxy, Box<dyn Error>> {
    let child = command.stdin(Stdio::null()).spawn();
    let child = child.map_err(|e| io::Error::new(e.kind(), format!("{what}: {e}")))?;
    let mut proxy = Proxy { what, child, address, _folder: folder };
    let up = wait_until(Duration::from_secs(30), || {
        Client::new(address).connect().is_ok() || matches!(proxy.child.try_wait(), Ok(Some(_)))
    });
    if !up || matches!(proxy.child.try_wait(), Ok(Some(_))) {
        return Err(format!("{what} did not start").into());
    }
    Ok(proxy)
}

fn beside(name: &str) -> PathBuf {
    built_binary().with_file_name(name)
}
