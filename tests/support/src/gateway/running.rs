//! The gateway's process.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::config::{Config, Rule, TOKEN, rules_yaml};
use super::{START, StartError, failed};
use crate::client::{Client, Post, Reply};
use crate::pki;
use crate::process;

/// Between two looks at something that has no other way to tell that it changed.
const GLANCE: Duration = Duration::from_millis(5);

/// How long the lines of a log may take to be written.
const LINES: Duration = Duration::from_secs(1);

/// A gateway in its folder, up or not. Killed when dropped; its log is shown if the test failed.
#[derive(Debug)]
pub struct Running {
    binary: PathBuf,
    folder: PathBuf,
    config: Arc<Config>,
    environment: Vec<(String, String)>,
    /// A command and its arguments that run the binary.
    wrapper: Vec<String>,
    process: Option<Process>,
    // Last, so that the folder outlives the process.
    _temporary: Option<TempDir>,
}

/// One more process in the same folder: one that is to take over, or one that has handed over. Killed
/// when dropped.
#[derive(Debug)]
pub struct Process(Child);

// === impl Process ===

impl Process {
    /// Its number.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Waits for its end; `None` if it did not come in time.
    pub fn wait(&mut self, within: Duration) -> Option<ExitStatus> {
        let mut ended = None;
        wait_until(within, || {
            ended = self.0.try_wait().ok().flatten();
            ended.is_some()
        });
        ended
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

// === impl Running ===

impl Running {
    pub(super) fn new(
        binary: PathBuf,
        folder: PathBuf,
        temporary: Option<TempDir>,
        config: Arc<Config>,
        environment: Vec<(String, String)>,
    ) -> Self {
        let (wrapper, process) = (Vec::new(), None);
        Self { binary, folder, config, environment, wrapper, process, _temporary: temporary }
    }

    /// Partners' side.
    pub fn inbound(&self) -> Client {
        match self.config.inbound_tls {
            None => Client::new(self.config.inbound),
            Some(mutual) => {
                Client::tls(self.config.inbound, pki::authority(), mutual.then(pki::client))
            }
        }
    }

    /// Our AS2 server's side. Panics when the gateway was not given one.
    pub fn outbound(&self) -> Client {
        Client::new(self.config.outbound.expect("Gateway::outbound was asked for"))
    }

    /// The admin listener, as it is.
    pub fn admin(&self) -> Client {
        Client::new(self.config.admin)
    }

    /// Calls the admin listener with the tests' token. An empty body is left out.
    pub fn call(&self, method: &str, path: &str, body: &str) -> io::Result<Reply> {
        let post = if body.is_empty() {
            Post::method(method, path).header("Content-Length", "0")
        } else {
            Post::new(path, body.as_bytes()).header("Content-Type", "application/json")
        };
        self.admin().send(&post.header("Authorization", format!("Bearer {TOKEN}")))
    }

    /// A counter or gauge of `/metrics`, by its name and labels; 0 when there is none.
    pub fn figure(&self, name: &str) -> u64 {
        let text = self.admin().get("/metrics").expect("metrics").text().into_owned();
        let figure = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
        text.lines().find_map(figure).unwrap_or_default()
    }

    /// `POST /admin/reload`.
    pub fn reload(&self) -> io::Result<Reply> {
        self.call("POST", "/admin/reload", "")
    }

    /// Replaces `webhooks.yaml` by these rules, in one rename.
    pub fn write_rules(&self, rules: &[Rule]) -> io::Result<()> {
        self.write("webhooks.yaml", &rules_yaml(rules))
    }

    /// Replaces a file of the folder, in one rename.
    pub fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let new = self.folder.join(format!(".{name}.new"));
        fs::write(&new, text)?;
        fs::rename(new, self.folder.join(name))
    }

    /// The folder with its config, keys and data.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The config file.
    pub fn config_file(&self) -> PathBuf {
        self.folder.join("as2hook.yaml")
    }

    /// The process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// All that it has written to standard output and standard error, restarts included.
    pub fn log(&self) -> String {
        // A thread of its own writes the lines: while it sleeps, it has written all that there are.
        let written = |pid| process::is_thread_at_rest(pid, "log").unwrap_or(true);
        if let Some(pid) = self.pid() {
            wait_until(LINES, || written(pid));
        }
        String::from_utf8_lossy(&fs::read(self.log_file()).unwrap_or_default()).into_owned()
    }

    /// Waits until the log has this text.
    pub fn wait_for_log(&self, text: &str, within: Duration) -> bool {
        wait_until(within, || self.log().contains(text))
    }

    /// Resident memory now, in KiB.
    pub fn rss_kib(&self) -> io::Result<u64> {
        self.memory("VmRSS:")
    }

    /// The most that was ever resident, in KiB.
    pub fn peak_rss_kib(&self) -> io::Result<u64> {
        self.memory("VmHWM:")
    }

    /// Processor time so far, user and system, of all its threads.
    pub fn cpu_time(&self) -> io::Result<Duration> {
        process::cpu_time(self.running_pid()?)
    }

    /// How many threads it has.
    pub fn threads(&self) -> io::Result<u64> {
        process::status(self.running_pid()?, "Threads:")
    }

    /// Whether none of its threads has anything to do: what reached it is dealt with.
    pub fn is_at_rest(&self) -> io::Result<bool> {
        process::is_at_rest(self.running_pid()?)
    }

    /// How many file descriptors it has open.
    pub fn descriptors(&self) -> io::Result<usize> {
        process::descriptors(self.running_pid()?)
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill9(&mut self) {
        self.process = None;
    }

    /// Sends SIGTERM and waits for the end; `None` if it did not come in time.
    pub fn sigterm(&mut self, within: Duration) -> io::Result<Option<ExitStatus>> {
        self.signal("TERM")?;
        Ok(self.wait(within))
    }

    /// Waits for the end of its process; `None` if it did not come in time.
    pub fn wait(&mut self, within: Duration) -> Option<ExitStatus> {
        let ended = self.process.as_mut()?.wait(within);
        if ended.is_some() {
            self.process = None;
        }
        ended
    }

    /// Sends a signal by its name: `HUP`, `TERM`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) -> io::Result<()> {
        let pid = self.running_pid()?;
        // The shell's own `kill` is there on every machine.
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {pid}")).status()?;
        if sent.success() { Ok(()) } else { Err(io::Error::other(format!("kill -{name}: {sent}"))) }
    }

    /// Kills it where it still runs, and starts it again: same folder, same ports.
    pub fn restart(&mut self) -> Result<(), StartError> {
        self.kill9();
        self.start()
    }

    /// A variable of its environment, from the next start on.
    pub fn set_environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// This command runs the binary from the next start on. It has to become the binary (`exec`), so that
    /// signals reach it.
    pub fn set_wrapper(&mut self, words: &[&str]) {
        self.wrapper = words.iter().map(|word| (*word).to_owned()).collect();
    }

    /// Starts it and waits until `/readyz` responds with 200.
    pub fn start(&mut self) -> Result<(), StartError> {
        self.begin()?;
        self.wait_until_ready()
    }

    /// Starts it and waits for nothing.
    pub fn begin(&mut self) -> Result<(), StartError> {
        self.process = Some(self.spawn(&[])?);
        Ok(())
    }

    /// As [`Self::start`], with `--upgrade`, where no process runs.
    pub fn start_upgrade(&mut self) -> Result<(), StartError> {
        self.process = Some(self.successor()?);
        self.wait_until_ready()
    }

    /// Starts one more process with `--upgrade`; it waits for SIGQUIT to the one that runs.
    pub fn successor(&self) -> Result<Process, StartError> {
        self.spawn(&["--upgrade"])
    }

    /// This process is the gateway's from now on. Returns the one that was.
    pub fn succeed(&mut self, successor: Process) -> Option<Process> {
        self.process.replace(successor)
    }

    /// Has a new process take over, and returns the old one, which may still have something to finish.
    pub fn upgrade(&mut self) -> Result<Process, StartError> {
        let handed = |log: &str| log.matches("Handed the listeners over").count();
        let before = handed(&self.log());
        let mut successor = self.successor()?;
        self.signal("QUIT").map_err(failed("SIGQUIT"))?;
        let mut ended = None;
        wait_until(START, || {
            ended = successor.wait(Duration::ZERO);
            ended.is_some() || handed(&self.log()) > before
        });
        match (ended, self.succeed(successor)) {
            (None, Some(old)) if handed(&self.log()) > before => Ok(old),
            (Some(status), _) => Err(StartError::Ended { status, log: self.log() }),
            _ => {
                let last = "nothing was handed over".to_owned();
                Err(StartError::NotReady { within: START, last, log: self.log() })
            }
        }
    }

    fn spawn(&self, arguments: &[&str]) -> Result<Process, StartError> {
        let log = File::options().create(true).append(true).open(self.log_file());
        let log = log.map_err(failed("the gateway's log file"))?;
        let second = log.try_clone().map_err(failed("the gateway's log file"))?;
        let words = self.wrapper.iter().map(OsStr::new).chain([self.binary.as_os_str()]);
        let words: Vec<_> = words.collect();
        let child = Command::new(words[0])
            .args(&words[1..])
            .arg("run")
            .arg("-c")
            .arg(self.config_file())
            .args(arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(second)
            .spawn()
            .map_err(failed(&format!("starting {}", self.binary.display())))?;
        Ok(Process(child))
    }

    /// Waits for the end of a process that ends by itself; `None` if it did not in time.
    pub fn wait_for_end(&mut self, within: Duration) -> Option<ExitStatus> {
        let ended = self.process.as_mut()?.wait(within);
        if ended.is_some() {
            self.process = None;
        }
        ended
    }

    /// What `/readyz` says; `None` without a response.
    pub fn readiness(&self) -> Option<(u16, String)> {
        let reply = self.admin().get("/readyz").ok()?;
        Some((reply.status, reply.text().into_owned()))
    }

    fn wait_until_ready(&mut self) -> Result<(), StartError> {
        let deadline = Instant::now() + START;
        loop {
            let ended = self.process.as_mut().and_then(|process| process.wait(Duration::ZERO));
            if let Some(status) = ended {
                self.process = None;
                return Err(StartError::Ended { status, log: self.log() });
            }
            let last = match self.admin().get("/readyz") {
                Ok(reply) if reply.status == 200 => return Ok(()),
                Ok(reply) => format!("{}: {}", reply.head.line, reply.text()),
                Err(e) => e.to_string(),
            };
            if Instant::now() > deadline {
                self.kill9();
                return Err(StartError::NotReady { within: START, last, log: self.log() });
            }
            thread::sleep(GLANCE);
        }
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("gateway.log")
    }

    fn memory(&self, field: &str) -> io::Result<u64> {
        process::status(self.running_pid()?, field)
    }

    fn running_pid(&self) -> io::Result<u32> {
        self.pid().ok_or_else(|| io::Error::other("the gateway does not run"))
    }
}

impl Drop for Running {
    #[expect(clippy::print_stderr, reason = "a failed test shows the gateway's log")]
    fn drop(&mut self) {
        self.kill9();
        if thread::panicking() {
            eprintln!("--- the gateway's log\n{}---", self.log());
        }
    }
}

/// Looks again and again until it holds. False: not in time.
pub fn wait_until(within: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + within;
    loop {
        // Known before the look: a thread that stood still until the time was over looks once more.
        let last = Instant::now() > deadline;
        if holds() {
            return true;
        }
        if last {
            return false;
        }
        thread::sleep(GLANCE);
    }
}
