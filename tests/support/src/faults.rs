//! What goes wrong below the gateway: its disk, its store's file, its limits. None of it needs root, but for
//! mounting a volume where the system keeps that to root.
//!
//! - [`BadDisk`]: a library that is loaded into the gateway and stands in for the kernel: full to the byte,
//!   read-only, slow or failing at fsync, or not responding at all
//! - [`SmallDisk`]: a real file system of a few megabytes, in a mount name space of its own
//! - [`HangingVolume`]: a real file system that hangs as long as the test wants
//! - [`FullQueue`]: a listening socket that drops each request for a connection, as a firewall does
//! - [`lock`], [`damage`], [`execute`]: done to the store's file by another process

mod volume;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use tempfile::TempDir;

pub use volume::HangingVolume;

use crate::gateway::Running;

/// The disk below a gateway's `data` folder, as bad as the test wants.
#[derive(Debug)]
pub struct BadDisk {
    orders: File,
    // Last, so that the file outlives the process that has mapped it.
    _folder: TempDir,
}

/// A file system of its own under a gateway's `data` folder. It lives as long as this does, whatever
/// becomes of the gateway's process.
#[derive(Debug)]
pub struct SmallDisk {
    keeper: Child,
    inside: PathBuf,
}

/// A listening socket whose queue is full, so that the kernel drops each request for a connection.
#[derive(Debug)]
pub struct FullQueue {
    listener: TcpListener,
    queued: Vec<TcpStream>,
}

/// Holds the store's write lock until it is dropped.
#[derive(Debug)]
pub struct Lock {
    connection: rusqlite::Connection,
}

const SHIM: &str = include_str!("faults/shim.c");

/// The fields of the shim's orders, eight bytes each.
#[derive(Clone, Copy)]
enum Order {
    Full,
    Room,
    ReadOnly,
    DelayMs,
    Broken,
    Hung,
}

// === impl BadDisk ===

impl BadDisk {
    /// Puts it under a gateway that is not yet running.
    pub fn under(gateway: &mut Running) -> io::Result<Self> {
        Self::under_folder(gateway, "data")
    }

    /// Puts it under the payload folder alone of a gateway that is not yet running.
    pub fn under_payloads(gateway: &mut Running) -> io::Result<Self> {
        Self::under_folder(gateway, "data/payloads")
    }

    fn under_folder(gateway: &mut Running, name: &str) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("as2hook-shim-").tempdir()?;
        let (source, library) = (folder.path().join("shim.c"), folder.path().join("shim.so"));
        fs::write(&source, SHIM)?;
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-o"])
            .args([&library, &source])
            .arg("-ldl")
            .output()?;
        if !compiled.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&compiled.stderr).into_owned()));
        }
        let path = folder.path().join("orders");
        let orders = OpenOptions::new().create_new(true).read(true).write(true).open(&path)?;
        orders.set_len(4096)?;
        let root = gateway.folder().canonicalize()?.join(name);
        gateway.set_environment("LD_PRELOAD", &library.display().to_string());
        gateway.set_environment("FAULTS_ORDERS", &path.display().to_string());
        gateway.set_environment("FAULTS_ROOT", &root.display().to_string());
        Ok(Self { orders, _folder: folder })
    }

    /// So many bytes are left; files grow no further then.
    pub fn fill(&self, room: i64) {
        self.order(Order::Room, room);
        self.order(Order::Full, 1);
    }

    /// Nothing can be changed: every attempt fails with `EROFS`.
    pub fn make_read_only(&self) {
        self.order(Order::ReadOnly, 1);
    }

    /// Each fsync takes so long.
    pub fn slow_down(&self, ms: i64) {
        self.order(Order::DelayMs, ms);
    }

    /// Each fsync fails with `EIO`, its pages marked clean as Linux does.
    pub fn break_fsync(&self) {
        self.order(Order::Broken, 1);
    }

    /// Whatever calls it is held until it is mended.
    pub fn hang(&self) {
        self.order(Order::Hung, 1);
    }

    /// As if nothing had been.
    pub fn mend(&self) {
        for order in [Order::Full, Order::ReadOnly, Order::DelayMs, Order::Broken, Order::Hung] {
            self.order(order, 0);
        }
    }

    fn order(&self, order: Order, value: i64) {
        let written = self.orders.write_all_at(&value.to_ne_bytes(), order as u64 * 8);
        written.expect("the file of orders is a small one on the tests' own disk");
    }
}

// === impl SmallDisk ===

impl SmallDisk {
    /// Mounts one of this size, in bytes, under a gateway that is not yet running. Fails where the
    /// system allows no name space of one's own.
    pub fn under(gateway: &mut Running, size: u64) -> io::Result<Self> {
        let data = gateway.folder().canonicalize()?.join("data");
        let script = format!(
            "mount -t tmpfs -o size={size},mode=700 tmpfs '{}' && echo mounted && exec sleep 3600",
            data.display()
        );
        let mut keeper = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut said = [0; 8];
        let mut stdout = keeper.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        if stdout.read_exact(&mut said).is_err() {
            let mut why = String::new();
            if let Some(mut stderr) = keeper.stderr.take() {
                stderr.read_to_string(&mut why)?;
            }
            keeper.wait()?;
            return Err(io::Error::other(why));
        }
        let pid = keeper.id();
        let target = pid.to_string();
        gateway.set_wrapper(&[
            "nsenter",
            "--preserve-credentials",
            "--user",
            "--mount",
            "--target",
            &target,
            "--",
        ]);
        let inside = PathBuf::from(format!("/proc/{pid}/root{}", data.display()));
        Ok(Self { keeper, inside })
    }

    /// The gateway's `data` folder, as seen from outside.
    pub fn path(&self) -> &Path {
        &self.inside
    }

    /// Takes all the space that is left.
    pub fn fill(&self) -> io::Result<()> {
        let mut filler = File::options().create(true).append(true).open(self.filler())?;
        for size in [64 << 10, 4096, 1] {
            let piece = vec![0; size];
            while filler.write_all(&piece).is_ok() {}
        }
        Ok(())
    }

    /// Gives it back.
    pub fn free(&self) -> io::Result<()> {
        fs::remove_file(self.filler())
    }

    fn filler(&self) -> PathBuf {
        self.inside.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.keeper.kill());
        drop(self.keeper.wait());
    }
}

// === impl FullQueue ===

impl FullQueue {
    /// Listens on this IPv4 address.
    pub fn at(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&address.into())?;
        socket.listen(0)?;
        let mut queued = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
            queued.push(stream);
        }
        Ok(Self { listener: socket.into(), queued })
    }

    /// Whether something is waiting for a connection to it.
    pub fn is_asked(&self) -> io::Result<bool> {
        let port = format!(":{:04X}", self.listener.local_addr()?.port());
        // The remote address is the third field, the state the fourth; 02 is SYN-SENT.
        let is_asking = |line: &str| {
            let mut fields = line.split_whitespace().skip(2);
            fields.next().is_some_and(|remote| remote.ends_with(&port))
                && fields.next() == Some("02")
        };
        Ok(fs::read_to_string("/proc/net/tcp")?.lines().any(is_asking))
    }

    /// Takes connections from now on.
    pub fn relieve(self) -> io::Result<TcpListener> {
        SockRef::from(&self.listener).listen(128)?;
        for _ in self.queued {
            self.listener.accept()?;
        }
        Ok(self.listener)
    }
}

// === impl Lock ===

impl Lock {
    /// Lets go.
    pub fn release(self) {
        let done = self.connection.execute_batch("ROLLBACK");
        done.expect("a transaction that did nothing can be rolled back");
    }
}

/// Keeps everybody else from writing into a store.
pub fn lock(database: &Path) -> Lock {
    let connection = rusqlite::Connection::open(database).expect("the store can be opened");
    connection.busy_timeout(Duration::from_secs(10)).expect("a time-out can be set");
    connection.execute_batch("BEGIN EXCLUSIVE").expect("the store can be locked");
    Lock { connection }
}

/// Carries statements out on a store while it is in use, such as a trigger that refuses some rows.
pub fn execute(database: &Path, sql: &str) {
    let connection = rusqlite::Connection::open(database).expect("the store can be opened");
    connection.busy_timeout(std::time::Duration::from_secs(60)).expect("a time-out can be set");
    connection.execute_batch(sql).expect("the statements are carried out");
}

/// Copies a store while it is in use.
pub fn backup(database: &Path, to: &Path) {
    let connection = rusqlite::Connection::open(database).expect("the store can be opened");
    let to = to.display().to_string();
    connection.execute("VACUUM INTO ?1", [to]).expect("the store can be copied");
}

/// Writes nonsense over every page of a store but the first, the log included, while it is in use.
pub fn damage(database: &Path) -> io::Result<()> {
    for (suffix, from) in [("", 4096), ("-wal", 32)] {
        let mut name = database.as_os_str().to_owned();
        name.push(suffix);
        let Ok(mut file) = OpenOptions::new().write(true).open(&name) else { continue };
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(from))?;
        let nonsense = vec![0xa5; usize::try_from(length.saturating_sub(from)).unwrap_or(0)];
        file.write_all(&nonsense)?;
    }
    Ok(())
}
