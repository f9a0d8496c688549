//! HAProxy in front of the gateways: `haproxy.cfg` as a site would have it, on free ports.

use std::{
    fmt::Write as _,
    fs, io,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use as2hook_testing::{
    Client, Running,
    gateway::{free_address, wait_until},
};

/// A running HAProxy; ended when dropped.
pub(crate) struct Balancer {
    child: Child,
    address: SocketAddr,
}

impl Balancer {
    /// Writes its config into the folder, starts it, and waits until it answers.
    pub(crate) fn start(folder: &Path, gateways: &[Running]) -> io::Result<Self> {
        let address = free_address();
        let config = folder.join("haproxy.cfg");
        fs::write(&config, self::config(address, gateways))?;
        let child = Command::new("haproxy")
            .args(["-db", "-q", "-f"])
            .arg(&config)
            .env("PATH", "/usr/sbin:/usr/local/sbin:/usr/bin:/bin")
            .stdin(Stdio::null())
            .spawn()?;
        let mut balancer = Self { child, address };
        let ready = wait_until(Duration::from_secs(120), || {
            balancer.client().get("/").is_ok_and(|reply| reply.status != 503)
        });
        match balancer.child.try_wait()? {
            Some(status) => Err(io::Error::other(format!("it ended with {status}"))),
            None if ready => Ok(balancer),
            None => Err(io::Error::other("it finds no gateway")),
        }
    }

    /// Where partners send to.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.address)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // One that has ended already needs neither.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A gateway takes part while its `/readyz` says so; an exchange that could not begin on one goes to
/// another, and one that has begun is never sent twice.
fn config(address: SocketAddr, gateways: &[Running]) -> String {
    let mut text = format!(
        "defaults
    mode http
    timeout connect 2s
    timeout client 310s
    timeout server 310s
    timeout check 2s
    retries 3
    retry-on conn-failure
    option redispatch
    option forwardfor
frontend partners
    bind {address}
    default_backend gateways
backend gateways
    balance leastconn
    option httpchk GET /readyz
    default-server check inter 500ms fall 1 rise 1
"
    );
    for (number, gateway) in gateways.iter().enumerate() {
        let inbound = gateway.inbound().address();
        let admin = gateway.admin().address().port();
        writeln!(text, "    server as2hook-{number} {inbound} port {admin}")
            .expect("a string takes every line");
    }
    text
}
