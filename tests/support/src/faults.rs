//! What goes wrong below the gateway: its disk, its store's file, its limits. None of it needs root.
//!
//! - [`BadDisk`]: a library that is loaded into the gateway and answers for the kernel: full to the byte,
//!   read-only, slow or failing at fsync
//! - [`SmallDisk`]: a real file system of a few megabytes, in a mount name space of its own
//! - [`lock`], [`damage`]: done to the store's file by another process

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::gateway::Running;

/// The disk below a gateway's `data` folder, as bad as it is told to be.
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
}

// === impl BadDisk ===

impl BadDisk {
    /// Puts it under a gateway that is not yet running.
    pub fn under(gateway: &mut Running) -> io::Result<Self> {
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
        let data = gateway.folder().canonicalize()?.join("data");
        gateway.set_environment("LD_PRELOAD", &library.display().to_string());
        gateway.set_environment("FAULTS_ORDERS", &path.display().to_string());
        gateway.set_environment("FAULTS_ROOT", &data.display().to_string());
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

    /// As if nothing had been.
    pub fn mend(&self) {
        for order in [Order::Full, Order::ReadOnly, Order::DelayMs, Order::Broken] {
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
    /// system allows nobody a name space of his own.
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
    connection.busy_timeout(std::time::Duration::from_secs(10)).expect("a time-out can be set");
    connection.execute_batch("BEGIN EXCLUSIVE").expect("the store can be locked");
    Lock { connection }
}

/// Copies a store while it is in use.
pub fn backup(database: &Path, to: &Path) {
    let connection = rusqlite::Connection::open(database).expect("the store can be opened");
    let to = to.display().to_string();
    connection.execute("VACUUM INTO ?1", [to]).expect("the store can be copied");
}

/// Writes nonsense over every page of a store but the first, the log included, under whoever uses it.
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
