//! A volume that hangs: a folder passed through by a FUSE process that is stopped for a while.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tempfile::TempDir;

use crate::gateway::wait_until;

/// How long mounting may take on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

/// Debian's packages `fuse3` and `python3-fusepy`; an interpreter of another place does not find it.
const PYTHON: &str = "/usr/bin/python3";
const SCRIPT: &str = include_str!("volume.py");

/// A file system of its own, passed through from a folder. Unmounted when dropped.
#[derive(Debug)]
pub struct HangingVolume {
    process: Child,
    mountpoint: PathBuf,
    folder: TempDir,
}

// === impl HangingVolume ===

impl HangingVolume {
    /// Mounts one. Fails where the system has no `/dev/fuse` or does not let this user mount, as in a
    /// container without `--device /dev/fuse --cap-add SYS_ADMIN`.
    pub fn mount() -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("as2hook-volume-").tempdir()?;
        let (below, mountpoint) = (folder.path().join("below"), folder.path().join("mounted"));
        let (script, log) = (folder.path().join("volume.py"), folder.path().join("log"));
        fs::create_dir(&below)?;
        fs::create_dir(&mountpoint)?;
        fs::write(&script, SCRIPT)?;
        let process = Command::new(PYTHON)
            .args([&script, &below, &mountpoint])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log)?)
            .spawn()?;
        let mut volume = Self { process, mountpoint, folder };
        let outside = fs::metadata(volume.folder.path())?.dev();
        let mut ended = false;
        wait_until(PATIENCE, || {
            ended = !matches!(volume.process.try_wait(), Ok(None));
            let mounted = || fs::metadata(&volume.mountpoint).is_ok_and(|at| at.dev() != outside);
            ended || mounted()
        });
        if ended || fs::metadata(&volume.mountpoint)?.dev() == outside {
            return Err(io::Error::other(fs::read_to_string(log)?.trim().to_owned()));
        }
        Ok(volume)
    }

    /// The folder that hangs.
    pub fn path(&self) -> &Path {
        &self.mountpoint
    }

    /// Hangs from now on, until [`Self::go_on`]. Do not touch [`Self::path`] meanwhile, nor wait for the
    /// end of a process that does: the kernel lets go of neither.
    pub fn hang(&self) {
        signal("STOP", self.process.id());
    }

    /// Has what hangs go on.
    pub fn go_on(&self) {
        signal("CONT", self.process.id());
    }

    /// Hangs for so long, whatever else is waited for meanwhile.
    pub fn hang_for(&self, time: Duration) -> JoinHandle<()> {
        self.hang();
        let process = self.process.id();
        thread::spawn(move || {
            thread::sleep(time);
            signal("CONT", process);
        })
    }
}

impl Drop for HangingVolume {
    fn drop(&mut self) {
        self.go_on();
        signal("TERM", self.process.id());
        let ended = wait_until(PATIENCE, || !matches!(self.process.try_wait(), Ok(None)));
        // In use still: it goes when that ends.
        let _ = Command::new("umount").arg("-l").arg(&self.mountpoint).output();
        if !ended {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

fn signal(name: &str, process: u32) {
    // One that has ended already needs none.
    let _ = Command::new("sh").arg("-c").arg(format!("kill -{name} {process}")).output();
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn hanging_volume_keeps_a_write_waiting_until_it_goes_on() {
        let Ok(volume) = HangingVolume::mount() else { return };
        let file = volume.path().join("payload");
        fs::write(&file, "before").unwrap();
        volume.hang();
        let (done, written) = mpsc::channel();
        let writer = thread::spawn({
            let file = file.clone();
            move || {
                fs::write(file, "after").unwrap();
                done.send(()).unwrap();
            }
        });
        assert!(written.recv_timeout(Duration::from_millis(300)).is_err());
        volume.go_on();
        written.recv_timeout(PATIENCE).unwrap();
        writer.join().unwrap();
        assert_eq!(fs::read_to_string(file).unwrap(), "after");
    }
}
