//! What a process uses, as `/proc` shows it.

use std::fs;
use std::io;
use std::time::Duration;

/// Processor time so far, user and system, of all its threads.
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // Behind the name in brackets: field 14 is utime, 15 stime, in ticks of 10 ms on Linux.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.filter_map(|t| t.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}

/// A figure of `/proc/<pid>/status`, such as `VmRSS:` (in KiB) or `Threads:`.
pub fn status(pid: u32, field: &str) -> io::Result<u64> {
    figure(pid, "status", field)
}

/// A figure of `/proc/<pid>/io`: `wchar:`, bytes that calls have written, to files and pipes, or `syscw:`, how
/// many calls it were. What is sent on sockets is in neither.
pub fn io(pid: u32, field: &str) -> io::Result<u64> {
    figure(pid, "io", field)
}

fn figure(pid: u32, file: &str, field: &str) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|line| line.split_whitespace().next())
        .and_then(|figure| figure.parse().ok())
        .ok_or_else(|| io::Error::other(format!("no {field} in the process's {file}")))
}

/// How many file descriptors it has open.
pub fn descriptors(pid: u32) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// Whether all of its threads sleep. One that is only kept from running does not.
pub fn is_at_rest(pid: u32) -> io::Result<bool> {
    threads_sleep(pid, |_| true)
}

/// Whether its threads of this name sleep.
pub fn is_thread_at_rest(pid: u32, name: &str) -> io::Result<bool> {
    threads_sleep(pid, |thread| thread == name)
}

fn threads_sleep(pid: u32, of: impl Fn(&str) -> bool) -> io::Result<bool> {
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // One that has ended meanwhile has nothing to do either.
        let Ok(stat) = fs::read_to_string(thread?.path().join("stat")) else { continue };
        let Some((before, behind)) = stat.rsplit_once(')') else { continue };
        let name = before.split_once('(').map_or("", |(_, name)| name);
        if of(name) && !behind.trim_start().starts_with('S') {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let pid = std::process::id();
        assert!(cpu_time(pid).is_ok());
        assert!(status(pid, "VmRSS:").unwrap() > 0);
        assert!(status(pid, "Threads:").unwrap() > 0);
        let before = descriptors(pid).unwrap();
        assert!(before > 2);
        assert!(!is_at_rest(pid).unwrap(), "it has to look");
    }
}
