//! The server's processes and its folder.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::SUPERUSER;
use crate::gateway::{free_address, wait_until};

/// How long a server may take to start or to stop.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// The oldest version that as2hook works with.
const OLDEST: u32 = 13;

/// A server, up or not. When dropped it is ended and its folder removed.
#[derive(Debug)]
pub(super) struct Server {
    data: PathBuf,
    port: u16,
    process: Option<Child>,
    /// `None`: the folder belongs to another user.
    folder: Option<TempDir>,
    detached: bool,
}

// === impl Server ===

impl Server {
    /// A server on a copy of a cluster.
    pub(super) fn start(template: &Path) -> Self {
        Self::on_copy(template, false)
    }

    /// As [`Self::start`], and it outlives this process.
    pub(super) fn detached(template: &Path) -> Self {
        Self::on_copy(template, true)
    }

    /// A server on a cluster that stays.
    pub(super) fn in_place(data: &Path) -> Self {
        Self::on(data.to_owned(), None, false)
    }

    /// A server that follows the one at that port.
    pub(super) fn standby_of(port: u16) -> Self {
        let folder = folder();
        let data = folder.path().join("data");
        let mut copy = as_user(&program("pg_basebackup"));
        copy.args(["-h", "127.0.0.1", "-U", SUPERUSER, "-R", "-X", "stream", "-c", "fast"])
            .args(["-p", &port.to_string(), "-D"])
            .arg(&data);
        run(&mut copy);
        Self::on(data, Some(folder), false)
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Starts it, if it does not run.
    pub(super) fn run(&mut self) {
        if self.process.is_some() {
            return;
        }
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        let mut command = as_user(&program("postgres"));
        if !self.detached && is_root() {
            // Goes with the test, however that ends.
            command = with_user(&["--pdeathsig", "QUIT"], &program("postgres"));
        }
        command
            .arg("-D")
            .arg(&self.data)
            .args(["-p", &self.port.to_string()])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        if self.detached {
            command.process_group(0);
        }
        self.process = Some(command.spawn().unwrap());
        let responses = || {
            let asked = super::psql(self.port, SUPERUSER, "SELECT 1");
            asked.is_ok_and(|output| output.status.success())
        };
        let started = wait_until(PATIENCE, responses);
        assert!(started, "{}", fs::read_to_string(self.log()).unwrap_or_default());
    }

    /// Ends it by a signal that it understands, and waits for that.
    pub(super) fn stop(&mut self, signal: &str) {
        let Some(mut process) = self.process.take() else { return };
        send(signal, &[process.id()]);
        let ended = wait_until(PATIENCE, || matches!(process.try_wait(), Ok(Some(_)) | Err(_)));
        if !ended {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Ends all of its processes at once.
    pub(super) fn kill(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let mut all = children(process.id());
        all.insert(0, process.id());
        send("KILL", &all);
        let _ = process.wait();
        // The children hold its memory for a moment longer.
        let gone = || all.iter().all(|pid| !Path::new(&format!("/proc/{pid}")).exists());
        wait_until(PATIENCE, gone);
    }

    /// Sends a signal to all of its processes.
    pub(super) fn signal_all(&self, signal: &str) {
        let Some(process) = &self.process else { return };
        // The first one first: no process is started while the others get the signal.
        send(signal, &[process.id()]);
        send(signal, &children(process.id()));
    }

    /// Puts a certificate and its key where the server looks for them when it reloads.
    pub(super) fn speak_tls(&self) {
        let identity = crate::pki::server();
        let files = [
            ("server.crt", identity.certificate.to_pem().unwrap()),
            ("server.key", identity.key.private_key_to_pem_pkcs8().unwrap()),
        ];
        for (name, text) in files {
            let file = self.data.join(name);
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
            if is_root() {
                run(Command::new("chown").arg(SUPERUSER).arg(&file));
            }
        }
        let settings = self.data.join("postgresql.conf");
        let text = fs::read_to_string(&settings).unwrap() + "ssl = on\n";
        fs::write(settings, text).unwrap();
    }

    fn log(&self) -> PathBuf {
        self.data.with_extension("log")
    }

    fn on_copy(template: &Path, detached: bool) -> Self {
        let folder = folder();
        let data = folder.path().join("data");
        run(Command::new("cp").arg("-a").arg(template).arg(&data));
        Self::on(data, Some(folder), detached)
    }

    fn on(data: PathBuf, folder: Option<TempDir>, detached: bool) -> Self {
        let port = free_address().port();
        let mut server = Self { data, port, process: None, folder, detached };
        server.run();
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.detached {
            return;
        }
        self.signal_all("CONT");
        self.stop("QUIT");
        if self.folder.is_none() {
            let _ = fs::remove_file(self.log());
        }
    }
}

/// Leaves a detached server to itself: it is ended, and its folder removed, when no test has held the
/// file `users` locked for some seconds.
pub(super) fn end_when_unused(mut server: Server, users: &Path, port: &Path) {
    let (Some(process), Some(folder)) = (server.process.take(), server.folder.take()) else {
        return;
    };
    // In the background of a shell that ends at once, so that no test has to wait for it. Held locked while the
    // server ends, so that the next one waits and starts another.
    let script = r#"
        (
            unused=0
            while kill -0 "$1" 2>/dev/null; do
                sleep 2
                exec 9<"$2"
                if flock -n -x 9; then unused=$((unused + 1)); else unused=0; fi
                if [ $unused -ge 4 ]; then
                    rm -f "$3"
                    kill -INT "$1"
                    while kill -0 "$1" 2>/dev/null; do sleep 0.1; done
                fi
                exec 9<&-
            done
            rm -rf "$4"
        ) &
    "#;
    let started = Command::new("sh")
        .args(["-c", script, "sh", &process.id().to_string()])
        .arg(users)
        .arg(port)
        .arg(folder.keep())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .status()
        .unwrap();
    assert!(started.success());
}

/// Makes an empty cluster.
pub(super) fn make_cluster(data: &Path) {
    let parent = data.parent().expect("it stands in a folder");
    // In a folder of the server's user, and then where it is to be.
    let folder = folder();
    let made = folder.path().join("data");
    let mut make = as_user(&program("initdb"));
    make.args(["-U", SUPERUSER, "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"])
        .args(["--wal-segsize=1", "--no-sync", "-D"])
        .arg(&made);
    run(&mut make);
    let settings = "
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 300
shared_buffers = 32MB
max_wal_size = 256MB
min_wal_size = 32MB
log_min_messages = log
log_checkpoints = off
";
    let file = made.join("postgresql.conf");
    let text = fs::read_to_string(&file).unwrap() + settings;
    fs::write(&file, text).unwrap();
    fs::create_dir_all(parent).unwrap();
    run(Command::new("cp").arg("-a").arg(&made).arg(data));
}

/// A program of the newest PostgreSQL of this machine.
pub(super) fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let numbers = versions.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let newest = numbers.filter(|version| *version >= OLDEST).max();
    match newest {
        Some(version) => PathBuf::from(format!("/usr/lib/postgresql/{version}/bin/{name}")),
        None => PathBuf::from(name),
    }
}

/// The name of the user that runs the tests.
pub(super) fn own_user() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn is_root() -> bool {
    own_user() == "root"
}

/// A folder that the server's user may use.
fn folder() -> TempDir {
    let folder = tempfile::Builder::new().prefix("as2hook-pg-").tempdir().unwrap();
    if is_root() {
        run(Command::new("chown").arg(SUPERUSER).arg(folder.path()));
    }
    folder
}

fn as_user(program: &Path) -> Command {
    with_user(&[], program)
}

/// A program as the server's user, which is not root.
fn with_user(options: &[&str], program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", SUPERUSER, "--regid", SUPERUSER, "--clear-groups"])
        .args(options)
        .arg(program)
        .current_dir("/");
    command
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

fn send(signal: &str, processes: &[u32]) {
    if processes.is_empty() {
        return;
    }
    let numbers: Vec<String> = processes.iter().map(u32::to_string).collect();
    // One that is gone already needs none.
    let _ = Command::new("kill").args(["-s", signal]).args(numbers).output();
}

/// The processes that this one started.
fn children(of: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}
