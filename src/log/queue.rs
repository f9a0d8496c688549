//! Writes log lines to stderr on a thread of its own.
//!
//! A reader of stderr that stalls (a full pipe to a log collector, a stopped terminal) blocks every write to
//! it. Threads that carry traffic put their lines into a bounded queue instead: what finds no room there is
//! dropped, counted, and reported once lines are written again.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Write as _},
    os::fd::AsFd as _,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use jiff::Timestamp;
use parking_lot::{Condvar, Mutex};
use rustix::event::{PollFd, PollFlags, poll};

/// Bytes of lines that wait to be written.
const BOUND: usize = 1024 * 1024;

/// Lines on their way to stderr. There is one stderr, and one of these.
#[derive(Debug)]
pub(super) struct LogQueue {
    waiting: Mutex<QueuedLines>,
    /// There is something to write.
    filled: Condvar,
    /// There is nothing left to write.
    emptied: Condvar,
    /// Lines that were never written, since the start.
    dropped: AtomicU64,
}

#[derive(Debug)]
struct QueuedLines {
    lines: VecDeque<Box<[u8]>>,
    bytes: usize,
    /// Lines that found no room and are not reported yet.
    dropped: u64,
    is_writing: bool,
    json: bool,
}

pub(super) static QUEUE: LogQueue = LogQueue::new();

// === impl LogQueue ===

impl LogQueue {
    const fn new() -> Self {
        let lines = VecDeque::new();
        Self {
            waiting: Mutex::new(QueuedLines {
                lines,
                bytes: 0,
                dropped: 0,
                is_writing: false,
                json: false,
            }),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            dropped: AtomicU64::new(0),
        }
    }

    /// Starts the thread that writes. `json`: the format of what it says itself.
    pub(super) fn start(&'static self, json: bool) -> io::Result<()> {
        self.waiting.lock().json = json;
        // A handle without the lock of the standard library's: a write that blocks holds up no other thread.
        let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        let writer = thread::Builder::new().name("log".to_owned());
        writer.spawn(move || self.write_to(&stderr)).map(drop)
    }

    /// Adds a line, if there is room for it. Never blocks.
    pub(super) fn push(&self, line: &[u8]) {
        let mut waiting = self.waiting.lock();
        if !waiting.has_room(line.len()) {
            waiting.dropped += 1;
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if let Some(report) = waiting.report() {
            waiting.add(report);
        }
        waiting.add(line.into());
        self.filled.notify_one();
    }

    /// Lines that were never written, since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until every line is written, and no longer than this.
    pub(super) fn flush(&self, within: Duration) {
        let mut waiting = self.waiting.lock();
        let left = |waiting: &mut QueuedLines| waiting.is_writing || !waiting.is_empty();
        self.emptied.wait_while_for(&mut waiting, left, within);
    }

    fn write_to(&self, stderr: &File) {
        loop {
            let line = self.next();
            if write_all(stderr, &line).is_err() {
                // There is no other place to say it.
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The next line to write; waits for it.
    fn next(&self) -> Box<[u8]> {
        let mut waiting = self.waiting.lock();
        waiting.is_writing = false;
        loop {
            if let Some(line) = waiting.take().or_else(|| waiting.report()) {
                waiting.is_writing = true;
                return line;
            }
            self.emptied.notify_all();
            self.filled.wait(&mut waiting);
        }
    }
}

// === impl QueuedLines ===

impl QueuedLines {
    /// Once full it takes lines again when half of it is free: otherwise a slow reader would get a report of
    /// dropped lines behind every line.
    fn has_room(&self, bytes: usize) -> bool {
        let bound = if self.dropped > 0 { BOUND / 2 } else { BOUND };
        self.bytes + bytes <= bound
    }

    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.dropped == 0
    }

    fn add(&mut self, line: Box<[u8]>) {
        self.bytes += line.len();
        self.lines.push_back(line);
    }

    fn take(&mut self) -> Option<Box<[u8]>> {
        let line = self.lines.pop_front()?;
        self.bytes -= line.len();
        Some(line)
    }

    /// The line that stands where dropped ones would have stood.
    fn report(&mut self) -> Option<Box<[u8]>> {
        let dropped = std::mem::take(&mut self.dropped);
        let (now, message) =
            (Timestamp::now(), "Log lines were dropped, since stderr was not read.");
        let line = match self.json {
            _ if dropped == 0 => return None,
            true => format!(
                "{{\"timestamp\":\"{now:.6}\",\"level\":\"WARN\",\"message\":\"{message}\",\"dropped\":{dropped},\
                 \"target\":\"as2hook::log\"}}\n"
            ),
            false => format!("{now:.6}  WARN {message} dropped={dropped}\n"),
        };
        Some(line.into_bytes().into())
    }
}

/// Writes a line, in one call where the system takes it whole: lines of two processes do not mix then.
fn write_all(mut stderr: &File, mut line: &[u8]) -> io::Result<()> {
    while !line.is_empty() {
        match stderr.write(line) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => line = &line[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Another process with the same pipe or terminal may have made it non-blocking.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll(&mut [PollFd::new(stderr, PollFlags::OUT)], None)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(60);

    fn drain(queue: &LogQueue) -> Vec<String> {
        let mut waiting = queue.waiting.lock();
        let lines = std::iter::from_fn(|| waiting.take().or_else(|| waiting.report()));
        lines.map(|line| String::from_utf8(line.into()).unwrap()).collect()
    }

    #[test]
    fn lines_beyond_the_bound_are_dropped_counted_and_reported_where_they_are_missing() {
        let queue = LogQueue::new();
        let line = [b'x'; 1024];
        for _ in 0..1024 + 5 {
            queue.push(&line);
        }
        assert_eq!(queue.dropped(), 5);
        // There is room for one, but not for half.
        queue.waiting.lock().take();
        queue.push(b"late\n");
        assert_eq!(queue.dropped(), 6);
        for _ in 0..512 {
            queue.waiting.lock().take();
        }
        queue.push(b"later\n");
        let lines = drain(&queue);
        assert!(lines[511].ends_with("stderr was not read. dropped=6\n"), "{}", lines[511]);
        assert_eq!(lines[512..], ["later\n"]);
    }

    #[test]
    fn dropped_lines_are_reported_in_json_where_lines_are_json() {
        let queue = LogQueue::new();
        (queue.waiting.lock().json, queue.waiting.lock().dropped) = (true, 3);
        let lines = drain(&queue);
        let read: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!((lines.len(), &read["dropped"], &read["level"]), (1, &3.into(), &"WARN".into()));
        assert!(read["timestamp"].as_str().unwrap().parse::<Timestamp>().is_ok(), "{read}");
    }

    #[test]
    fn flush_waits_for_the_last_line_and_not_for_a_reader_that_stalls() {
        static STALLED: LogQueue = LogQueue::new();
        let (mut reader, writer) = io::pipe().unwrap();
        let writer = File::from(std::os::fd::OwnedFd::from(writer));
        thread::spawn(move || STALLED.write_to(&writer));
        let line = [b'x'; 4096];
        for _ in 0..64 {
            STALLED.push(&line);
        }
        STALLED.flush(Duration::from_millis(10));
        assert!(!STALLED.waiting.lock().is_empty(), "the pipe has 64 KiB");
        let read = thread::spawn(move || {
            let mut all = vec![0; 64 * 4096];
            io::Read::read_exact(&mut reader, &mut all).map(|()| reader)
        });
        STALLED.flush(SOON);
        assert!(STALLED.waiting.lock().is_empty() && read.join().unwrap().is_ok());
    }
}
