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
    /// Where partners send to.
    pub(crate) inbound: SocketAddr,
    /// Where our own AS2 server sends to.
    pub(crate) outbound: SocketAddr,
}

impl Balancer {
    /// Writes its config into the folder, starts it, and waits until a gateway responds.
    pub(crate) fn start<'a>(
        folder: &Path,
        gateways: impl Iterator<Item = &'a Running>,
    ) -> io::Result<Self> {
        let (inbound, outbound) = (free_address(), free_address());
        let config = folder.join("haproxy.cfg");
        fs::write(&config, self::config(inbound, outbound, gateways))?;
        let child = Command::new("haproxy")
            .args(["-db", "-q", "-f"])
            .arg(&config)
            .env("PATH", "/usr/sbin:/usr/local/sbin:/usr/bin:/bin")
            .stdin(Stdio::null())
            // It says there whenever a gateway comes or goes.
            .stderr(fs::File::create(folder.join("haproxy.log"))?)
            .spawn()?;
        let mut balancer = Self { child, inbound, outbound };
        let ready = wait_until(Duration::from_secs(120), || {
            Client::new(inbound).get("/").is_ok_and(|reply| reply.status != 503)
        });
        match balancer.child.try_wait()? {
            Some(status) => Err(io::Error::other(format!("it ended with {status}"))),
            None if ready => Ok(balancer),
            None => Err(io::Error::other("it finds no gateway")),
        }
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
fn config<'a>(
    inbound: SocketAddr,
    outbound: SocketAddr,
    gateways: impl Iterator<Item = &'a Running>,
) -> String {
    let text = format!(
        "defaults
    mode http
    timeout connect 2s
    timeout client 310s
    timeout server 310s
    timeout check 2s
    retries 3
    retry-on conn-failure
    option redispatch
    balance leastconn
    option httpchk GET /readyz
    default-server check inter 500ms fall 1 rise 1
frontend partners
    bind {inbound}
    option forwardfor
    default_backend inbound
frontend own_server
    bind {outbound}
    default_backend outbound
"
    );
    let (mut partners, mut own_server) =
        (String::from("backend inbound\n"), String::from("backend outbound\n"));
    for (number, gateway) in gateways.enumerate() {
        let (inbound, outbound) = (gateway.inbound().address(), gateway.outbound().address());
        let admin = gateway.admin().address().port();
        writeln!(partners, "    server as2hook-{number} {inbound} port {admin}")
            .expect("a string takes every line");
        writeln!(own_server, "    server as2hook-{number} {outbound} port {admin}")
            .expect("a string takes every line");
    }
    text + &partners + &own_server
}
