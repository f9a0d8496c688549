//! A PostgreSQL server out of the machine's packages, version 13 or later, in a temporary folder.
//!
//! [`Postgres::shared()`] is a fresh database on a server that all tests of the machine share: the first
//! starts it, and it ends some seconds after the last. [`Postgres::start()`] is a server of one's own,
//! for tests that stop, kill or pause it. PostgreSQL will not run as root, so that root's tests run it as
//! the user `postgres`.

mod server;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use self::server::{Server, program};

/// The superuser of every server here.
const SUPERUSER: &str = "postgres";
/// The owner of the databases: no superuser, as in production.
const ROLE: &str = "as2hook";

/// A database on a server. When dropped the database goes, and its server too if it is one's own.
#[derive(Debug)]
pub struct Postgres {
    database: String,
    port: u16,
    /// One's own server.
    own: Option<Server>,
    /// Says that the shared server is in use.
    _user: Option<File>,
}

// === impl Postgres ===

impl Postgres {
    /// A fresh database on the server that the tests share.
    pub fn shared() -> Self {
        let folder = shared_folder();
        let user = lock_file(&folder.join("users"));
        user.lock_shared().unwrap();
        let starting = lock_file(&folder.join("starting"));
        starting.lock().unwrap();
        let port = match running(&folder) {
            Some(port) => port,
            None => start_shared(&folder),
        };
        drop(starting);
        let mut postgres = Self { database: String::new(), port, own: None, _user: Some(user) };
        postgres.database = postgres.fresh();
        postgres
    }

    /// A fresh database on a server of one's own. The server ends with the thread that calls this, at the
    /// latest.
    pub fn start() -> Self {
        Self::on(Server::start(&template()))
    }

    /// A standby of one's own server, which follows it until it is promoted.
    pub fn standby(&self) -> Self {
        let own = Server::standby_of(self.port);
        Self { database: self.database.clone(), port: own.port(), own: Some(own), _user: None }
    }

    /// Where the database is.
    pub fn url(&self) -> String {
        format!("postgres://{ROLE}@127.0.0.1:{}/{}", self.port, self.database)
    }

    /// The database, on this server as long as it takes writes, else on the other.
    pub fn url_with(&self, other: &Self) -> String {
        format!(
            "postgres://{ROLE}@127.0.0.1:{},127.0.0.1:{}/{}?target_session_attrs=read-write",
            self.port, other.port, self.database
        )
    }

    /// The server's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs SQL as the superuser in the database, and returns what comes of it, a row a line.
    pub fn sql(&self, sql: &str) -> String {
        said(psql(self.port, &self.database, sql))
    }

    /// Stops the server as its administrator would: connections are ended, nothing is lost.
    pub fn stop(&mut self) {
        self.own().stop("INT");
    }

    /// Ends the server as a power cut would.
    pub fn kill(&mut self) {
        self.own().kill();
    }

    /// Starts the server again, on its port; if it runs, it is stopped before.
    pub fn restart(&mut self) {
        let server = self.own();
        server.stop("INT");
        server.run();
    }

    /// Has the server speak TLS, with the certificate of [`crate::pki::server()`], from now on.
    pub fn speak_tls(&mut self) {
        self.own().speak_tls();
        self.sql("SELECT pg_reload_conf()");
        let delivered = || self.sql("SHOW ssl") == "on";
        assert!(crate::wait_until(server::PATIENCE, delivered), "the server speaks no TLS");
    }

    /// Has every process of the server stand still, so that it neither responds nor breaks off.
    pub fn pause(&mut self) {
        self.own().signal_all("STOP");
    }

    /// Has them go on.
    pub fn resume(&mut self) {
        self.own().signal_all("CONT");
    }

    /// Makes a standby the first server. Returns when it takes writes.
    pub fn promote(&mut self) {
        self.sql("SELECT pg_promote(wait => true)");
    }

    fn own(&mut self) -> &mut Server {
        self.own.as_mut().expect("only a server of one's own is started and stopped")
    }

    fn on(server: Server) -> Self {
        let (database, port) = (String::new(), server.port());
        let mut postgres = Self { database, port, own: Some(server), _user: None };
        postgres.database = postgres.fresh();
        postgres
    }

    /// Makes a database.
    fn fresh(&self) -> String {
        let name = format!("as2hook_{:016x}", fastrand::u64(..));
        said(psql(self.port, SUPERUSER, &format!("CREATE DATABASE {name} OWNER {ROLE}")));
        name
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.own.is_none() {
            let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.database);
            // What stays goes with the server.
            let _ = psql(self.port, SUPERUSER, &sql);
        }
    }
}

fn psql(port: u16, database: &str, sql: &str) -> io::Result<Output> {
    Command::new(program("psql"))
        .args(["-h", "127.0.0.1", "-U", SUPERUSER, "-XAtq", "-v", "ON_ERROR_STOP=1"])
        .args(["-p", &port.to_string(), "-d", database, "-c", sql])
        .output()
}

fn said(output: io::Result<Output>) -> String {
    let output = output.unwrap();
    assert!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// A folder of a new cluster, made once for all tests of the machine: making one takes seconds.
fn template() -> PathBuf {
    let folder = shared_folder();
    let template = folder.join("template");
    let making = lock_file(&folder.join("making"));
    making.lock().unwrap();
    if !template.join("ready").exists() {
        let _ = fs::remove_dir_all(&template);
        server::make_cluster(&template);
        let server = Server::in_place(&template);
        said(psql(server.port(), SUPERUSER, &format!("CREATE ROLE {ROLE} LOGIN")));
        drop(server);
        fs::write(template.join("ready"), "").unwrap();
    }
    template
}

/// The port of the shared server, if it runs.
fn running(folder: &Path) -> Option<u16> {
    let port = fs::read_to_string(folder.join("port")).ok()?.trim().parse().ok()?;
    let alive = psql(port, SUPERUSER, "SELECT 1").ok()?;
    alive.status.success().then_some(port)
}

/// Starts the shared server, and a process that ends it when it has not been used for a while.
fn start_shared(folder: &Path) -> u16 {
    let server = Server::detached(&template());
    let port = server.port();
    fs::write(folder.join("port"), port.to_string()).unwrap();
    server::end_when_unused(server, &folder.join("users"), &folder.join("port"));
    port
}

/// Where the tests of this user and this version of PostgreSQL keep what they share.
fn shared_folder() -> PathBuf {
    let version = program("postgres");
    let version = version.parent().and_then(Path::parent).and_then(Path::file_name);
    let version = version.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let user = server::own_user();
    let folder = std::env::temp_dir().join(format!("as2hook-postgres-{user}-{version}"));
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn lock_file(path: &Path) -> File {
    OpenOptions::new().create(true).truncate(false).write(true).read(true).open(path).unwrap()
}
