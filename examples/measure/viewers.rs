//! What the live stream of the console adds to the CPU time of an exchange: the same gateway at 500 messages/s,
//! in turns without a viewer and with ten.

use std::{
    error::Error,
    io::{self, Read as _, Write as _},
    net::{Shutdown, TcpStream},
    thread,
    time::Duration,
};

use as2hook_testing::{
    Gateway, Post, Running,
    gateway::wait_until,
    load::{Load, Template},
    process,
};

use super::{
    Extent,
    compared::Compared,
    partner::{self, Delivered},
    table::Table,
};

/// People who have the overview open.
const VIEWERS: usize = 10;
/// Connections of the load, and messages a second.
const CONNECTIONS: usize = 32;
const RATE: u32 = 500;
/// Bytes of a payload.
const SIZE: usize = 652;
/// Pairs of rounds; a pair is short, so that both meet the same machine.
const PAIRS: usize = 20;
/// Outcomes of deliveries are recorded in batches.
const RECORDED: Duration = Duration::from_millis(250);
const REST: Duration = Duration::from_secs(30);

/// One row: the CPU time of an exchange with viewers, and its ratio to that without.
pub(crate) fn measure(extent: Extent, table: &mut Table) -> Result<(), Box<dyn Error>> {
    let (receiver, delivered) = (partner::receiver(), Delivered::default());
    let sink = delivered.start();
    let gateway = Gateway::new()
        .receiver_url(&receiver.url(""))
        .receiver_set("keepalive", "on")
        .environment("AS2HOOK_LOG", "warn")
        .rule("all", |rule| rule.url(sink.url("/")))
        .start()?;
    let message = partner::open("MY-OWN-ORG", SIZE).build();
    let template = Template::new("/as2", &message);
    let load = Load::on_schedule(CONNECTIONS, RATE, extent.seconds);
    let cookie = sign_in(&gateway)?;
    let (mut first, mut compared) = (0, Compared::default());
    for pair in 0..=PAIRS {
        for turn in [pair % 2, 1 - pair % 2] {
            let viewers = if turn == 0 { Vec::new() } else { watch(&gateway, &cookie)? };
            let pid = gateway.pid().ok_or("the gateway does not run")?;
            let before = process::cpu_time(pid)?;
            delivered.reset(first..first.saturating_add(load.total));
            let samples = load.run(gateway.inbound().address(), |number, out| {
                template.write(first + number, out);
            });
            let count = samples.all_good()?.all.len();
            delivered.wait_for(count)?;
            first += count;
            thread::sleep(RECORDED);
            wait_until(REST, || process::is_at_rest(pid).unwrap_or(true));
            let used = process::cpu_time(pid)?.saturating_sub(before).as_secs_f64();
            viewers.iter().try_for_each(|viewer| viewer.shutdown(Shutdown::Both))?;
            #[expect(clippy::cast_precision_loss, reason = "a count for people")]
            let each = used * 1e6 / count as f64;
            // The first pair fills caches.
            if pair > 0 {
                let what = format!("CPU of an exchange at {RATE}/s, {VIEWERS} viewers");
                compared.add(usize::from(turn == 0), &what, "µs", each);
            }
        }
    }
    compared.print(&["without viewers"], table);
    Ok(())
}

fn sign_in(gateway: &Running) -> Result<String, Box<dyn Error>> {
    let post = Post::new("/console/signin", b"token=test-token&next=")
        .header("Host", "localhost")
        .header("Content-Type", "application/x-www-form-urlencoded");
    let reply = gateway.admin().send(&post)?;
    let cookie = reply.header("Set-Cookie").ok_or("the token was not taken")?;
    Ok(cookie.split(';').next().unwrap_or_default().to_owned())
}

/// Opens the streams of the viewers; each is read as it comes.
fn watch(gateway: &Running, cookie: &str) -> io::Result<Vec<TcpStream>> {
    let watch = |_| {
        let mut stream = TcpStream::connect(gateway.admin().address())?;
        let head =
            format!("GET /console/live HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n");
        stream.write_all(head.as_bytes())?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        if !status.ends_with(b"200") {
            return Err(io::Error::other("the stream was refused"));
        }
        let mut reader = stream.try_clone()?;
        thread::spawn(move || io::copy(&mut reader, &mut io::sink()));
        Ok(stream)
    };
    (0..VIEWERS).map(watch).collect()
}
