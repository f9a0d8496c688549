//! What an exchange costs: decoded, durable, its webhook delivered. The same requests go through a bare
//! Pingora proxy in the same rounds, and through another build of as2hook where one is given.

use std::{
    error::Error,
    io::{self, Read as _},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use as2hook_testing::{
    Gateway, Postgres, Running,
    gateway::{built_binary, wait_until},
    load::{Load, Template},
    pki, process,
};

use super::{
    Extent,
    compared::Compared,
    partner::{self, Delivered},
    passing::{Proxy, bare},
    table::Table,
};

/// Connections of every load.
const CONNECTIONS: usize = 32;
/// Bytes of a payload. Signed and encrypted it is a body of about 3.4 KB.
const SIZE: usize = 652;

/// Deliveries are recorded in batches, the last of them a little after its response.
const RECORDED: Duration = Duration::from_millis(250);
/// For threads that still have something to do then.
const REST: Duration = Duration::from_secs(30);

/// What requests go through.
enum Subject {
    Gateway(
        Running,
        #[expect(dead_code, reason = "it lasts as long as its gateway")] Option<Postgres>,
    ),
    Bare(Proxy),
}

/// What a process has used so far, as `/proc` shows it.
struct Usage {
    cpu: Duration,
    bytes: u64,
    calls: u64,
}

/// Counts the futex calls of a process.
struct FutexCounter(Child);

/// Rows: CPU time, rate, writes and futex calls for each kind of message and each load, threads and memory;
/// each held against the bare proxy's, and against the other build's.
pub(crate) fn measure(
    extent: Extent,
    against: Option<PathBuf>,
    postgres: bool,
    table: &mut Table,
) -> Result<(), Box<dyn Error>> {
    let (receiver, delivered) = (partner::receiver(), Delivered::default());
    let sink = delivered.start();
    let gateway = |binary: PathBuf| -> Result<Subject, Box<dyn Error>> {
        let database = postgres.then(Postgres::start);
        let mut gateway = Gateway::new()
            .binary(binary)
            .receiver_url(&receiver.url(""))
            // As the bare proxy does.
            .receiver_set("keepalive", "on")
            .environment("AS2HOOK_LOG", "warn")
            .station("MY-OWN-ORG", pki::station())
            .partner("ACME", pki::partner())
            .rule("all", |rule| rule.url(sink.url("/")));
        if let Some(database) = &database {
            gateway = gateway.set("store", &format!("{:?}", database.url()));
        }
        Ok(Subject::Gateway(gateway.start()?, database))
    };
    let mut subjects = vec![gateway(built_binary())?, Subject::Bare(bare(&receiver)?)];
    let mut others = vec!["a bare Pingora's"];
    if let Some(binary) = against {
        subjects.push(gateway(binary)?);
        others.push("the other build's");
    }
    let kinds = [
        ("plain", partner::open("MY-OWN-ORG", SIZE).build()),
        ("signed and encrypted", partner::sealed("MY-OWN-ORG", SIZE).build()),
    ];
    let kinds = kinds.map(|(kind, message)| {
        (format!("{kind}, {} bytes", message.body.len()), Template::new("/as2", &message))
    });
    let lasting = Duration::from_secs(extent.seconds.into());
    let slow = Load::on_schedule(CONNECTIONS, 100, 2 * extent.seconds);
    let fast = Load::on_schedule(CONNECTIONS, 500, extent.seconds);
    let loads = [
        ("saturated", Load::at_full_speed(CONNECTIONS, lasting)),
        ("100/s", slow),
        ("500/s", fast),
    ];
    let counted = [loads[0], loads[2]];
    let mut first = 0;
    for subject in &subjects {
        for (_, template) in &kinds {
            // Connections and caches.
            first += subject.pass(fast, first, template, &delivered)?.0;
        }
    }
    let (mut compared, mut is_counted) = (Compared::default(), false);
    let mut order: Vec<_> = subjects.iter().enumerate().collect();
    for _ in 0..extent.rounds {
        for ((kind, template), (pace, load)) in
            kinds.iter().flat_map(|kind| loads.iter().map(move |load| (kind, load)))
        {
            for &(number, subject) in &order {
                let (before, began) = (Usage::of(subject.pid()?)?, Instant::now());
                let (count, rate) = subject.pass(*load, first, template, &delivered)?;
                let complete = began.elapsed();
                subject.rest()?;
                let used = Usage::of(subject.pid()?)?;
                first += count;
                let mut add = |what: &str, unit, figure: f64| {
                    compared.add(number, &format!("{kind}, {pace}: {what}"), unit, figure);
                };
                #[expect(clippy::cast_precision_loss, reason = "counts for people")]
                let each = |before: u64, used: u64| (used - before) as f64 / count as f64;
                let cpu = used.cpu.saturating_sub(before.cpu).as_secs_f64();
                #[expect(clippy::cast_precision_loss, reason = "a count for people")]
                let messages = count as f64;
                add("CPU of an exchange", "µs", cpu * 1e6 / messages);
                // The bare proxy writes nothing to hold this against.
                if let Subject::Gateway(..) = subject {
                    add("bytes written", "", each(before.bytes, used.bytes));
                    add("calls that write", "", each(before.calls, used.calls));
                }
                if load.rate.is_none() {
                    add("messages/s", "", rate);
                    add("exchanges/s, delivered", "", messages / complete.as_secs_f64());
                }
            }
        }
        for ((kind, template), (pace, load)) in
            kinds.iter().flat_map(|kind| counted.iter().map(move |load| (kind, load)))
        {
            for &(number, subject) in &order {
                let Subject::Gateway(..) = subject else { continue };
                let Some(counter) = FutexCounter::start(subject.pid()?) else { continue };
                let (count, _) = subject.pass(*load, first, template, &delivered)?;
                subject.rest()?;
                first += count;
                let calls = counter.stop()?;
                is_counted = true;
                #[expect(clippy::cast_precision_loss, reason = "counts for people")]
                let each = calls as f64 / count as f64;
                compared.add(number, &format!("{kind}, {pace}: futex calls"), "", each);
            }
        }
        for &(number, subject) in &order {
            #[expect(clippy::cast_precision_loss, reason = "figures for people")]
            let figure = |field: &str| process::status(subject.pid()?, field).map(|f| f as f64);
            compared.add(number, "threads", "", figure("Threads:")?);
            compared.add(number, "RSS", "MiB", figure("VmRSS:")? / 1024.0);
        }
        // A B B A, so that none always comes behind the same other.
        order.reverse();
    }
    compared.print(&others, table);
    if !is_counted {
        table.figure("futex calls", "not measured: neither perf nor strace can be run");
    }
    Ok(())
}

// === impl Subject ===

impl Subject {
    fn address(&self) -> SocketAddr {
        match self {
            Self::Gateway(gateway, _) => gateway.inbound().address(),
            Self::Bare(proxy) => proxy.address,
        }
    }

    fn pid(&self) -> io::Result<u32> {
        match self {
            Self::Gateway(gateway, _) => {
                gateway.pid().ok_or_else(|| io::Error::other("the gateway does not run"))
            }
            Self::Bare(proxy) => Ok(proxy.child.id()),
        }
    }

    /// Sends a load through it, and waits for the webhooks. Returns how many messages it was, and how many
    /// a second got their responses.
    fn pass(
        &self,
        load: Load,
        first: usize,
        template: &Template,
        delivered: &Delivered,
    ) -> Result<(usize, f64), Box<dyn Error>> {
        delivered.reset(first..first.saturating_add(load.total));
        let samples = load.run(self.address(), |number, out| template.write(first + number, out));
        let samples = samples.all_good()?;
        if let Self::Gateway(..) = self {
            delivered.wait_for(samples.all.len())?;
        }
        Ok((samples.all.len(), samples.rate()))
    }

    fn rest(&self) -> io::Result<()> {
        let pid = self.pid()?;
        thread::sleep(RECORDED);
        wait_until(REST, || process::is_at_rest(pid).unwrap_or(true));
        Ok(())
    }
}

// === impl Usage ===

impl Usage {
    fn of(pid: u32) -> io::Result<Self> {
        Ok(Self {
            cpu: process::cpu_time(pid)?,
            bytes: process::io(pid, "wchar:")?,
            calls: process::io(pid, "syscw:")?,
        })
    }
}

// === impl FutexCounter ===

impl FutexCounter {
    /// By perf, which costs the process next to nothing, else by strace. `None`: neither can be run.
    fn start(pid: u32) -> Option<Self> {
        let pid = pid.to_string();
        let perf = ["perf", "stat", "-x,", "-e", "syscalls:sys_enter_futex", "-p", &pid];
        let strace = ["strace", "-c", "-f", "-e", "trace=futex", "-p", &pid];
        [&perf, &strace[..]].into_iter().find_map(|words| {
            let mut command = Command::new(words[0]);
            command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null());
            let mut child = command.stderr(Stdio::piped()).spawn().ok()?;
            // It ends at once where it may not look at the process.
            thread::sleep(RECORDED);
            child.try_wait().ok()?.is_none().then_some(Self(child))
        })
    }

    /// Stops counting. Returns how many calls it were.
    fn stop(mut self) -> Result<u64, Box<dyn Error>> {
        let interrupt = format!("kill -INT {}", self.0.id());
        Command::new("sh").arg("-c").arg(interrupt).status()?;
        let mut said = String::new();
        self.0.stderr.take().ok_or("no output")?.read_to_string(&mut said)?;
        self.0.wait()?;
        let line = said.lines().find(|line| line.contains("futex") && !line.contains("attached"));
        let line = line.ok_or_else(|| format!("no futex calls in {said:?}"))?;
        // perf: `count,,event,…`; strace: `% time, seconds, usecs/call, calls, …, syscall`.
        let count = match line.split_once(',') {
            Some((count, _)) => count,
            None => line.split_whitespace().nth(3).unwrap_or_default(),
        };
        // perf writes that it counted nothing in words.
        Ok(count.parse().unwrap_or_default())
    }
}
