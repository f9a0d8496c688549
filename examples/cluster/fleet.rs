//! The gateways' processes: kept up as a service manager would, replaced as a roll-out would.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use as2hook_testing::{
    Running,
    gateway::{Process, StartError},
    load::Server,
};

use crate::hooks::{self, Hook, Versions};

/// Before a process that terminated by itself is started again: with `refuse` each start without the
/// store terminates.
const RESTART: Duration = Duration::from_secs(1);

/// How long a response of `/readyz` may take.
const ASK: Duration = Duration::from_secs(1);

/// How long a process may take to terminate in order: `drain` and what a fault of the store adds.
const TERMINATION: Duration = Duration::from_secs(120);

pub(crate) struct Fleet {
    /// The two processes of a gateway stand in steps of `gateways`.
    nodes: Vec<Node>,
    gateways: usize,
    /// Processes that have handed over.
    leaving: Vec<(Process, Instant)>,
    hooks: &'static [Hook],
    sink: Server,
    /// What the rules are to be.
    pub(crate) versions: Versions,
    /// What was not asked for.
    pub(crate) oddities: Vec<String>,
}

struct Node {
    running: Running,
    wanted: bool,
    /// Not started before.
    back_at: Instant,
    paused: bool,
    /// From then on its replacement does its work, as soon as that is ready.
    ends_at: Option<Instant>,
    /// Since SIGTERM.
    leaving: Option<Instant>,
}

// === impl Fleet ===

impl Fleet {
    /// Starts the first process of each gateway.
    pub(crate) fn start(
        nodes: Vec<Running>,
        gateways: usize,
        hooks: &'static [Hook],
        sink: Server,
    ) -> Result<Self, StartError> {
        let now = Instant::now();
        let node = |running| Node {
            running,
            wanted: false,
            back_at: now,
            paused: false,
            ends_at: None,
            leaving: None,
        };
        let mut nodes: Vec<_> = nodes.into_iter().map(node).collect();
        for node in nodes.iter_mut().take(gateways) {
            node.running.start()?;
            node.wanted = true;
        }
        let (leaving, oddities, versions) = (Vec::new(), Vec::new(), Versions::default());
        Ok(Self { nodes, gateways, leaving, hooks, sink, versions, oddities })
    }

    /// All gateways, up or not.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Running> {
        self.nodes.iter().map(|node| &node.running)
    }

    /// How many gateways there are, replacements not counted.
    pub(crate) fn gateways(&self) -> usize {
        self.gateways
    }

    /// Those that run and are not on their way out.
    pub(crate) fn at_work(&self) -> Vec<usize> {
        let at_work = |node: &Node| node.wanted && !node.paused && node.running.pid().is_some();
        (0..self.nodes.len()).filter(|number| at_work(&self.nodes[*number])).collect()
    }

    pub(crate) fn kill(&mut self, number: usize, away: Duration) {
        let node = &mut self.nodes[number];
        node.running.kill9();
        node.paused = false;
        node.back_at = Instant::now() + away;
    }

    pub(crate) fn pause(&mut self, number: usize) {
        // One that has terminated meanwhile is started again by `tick`.
        self.nodes[number].paused = self.nodes[number].running.signal("STOP").is_ok();
    }

    pub(crate) fn resume(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        if std::mem::take(&mut node.paused) {
            drop(node.running.signal("CONT"));
        }
    }

    /// Gives a gateway's working process, and what follows it, the newest rules.
    pub(crate) fn reload(&mut self, gateway: usize) -> Result<(), StartError> {
        for number in self.processes_of(gateway) {
            if self.nodes[number].wanted {
                self.write_rules(number)?;
                // The file is watched, too; whichever comes first.
                drop(self.nodes[number].running.signal("HUP"));
            }
        }
        Ok(())
    }

    /// Starts a gateway's other process with the newest rules; the process at work gets SIGTERM when that is ready,
    /// and not before this time. False: the last replacement is not over.
    pub(crate) fn replace(&mut self, gateway: usize, ends_at: Instant) -> Result<bool, StartError> {
        let idle = |node: &Node| !node.wanted && node.leaving.is_none();
        let processes: Vec<_> = self.processes_of(gateway).collect();
        let new = processes.iter().copied().find(|number| idle(&self.nodes[*number]));
        let old = processes.into_iter().find(|number| self.nodes[*number].wanted);
        let (Some(new), Some(old)) = (new, old) else { return Ok(false) };
        self.write_rules(new)?;
        self.nodes[old].ends_at = Some(ends_at);
        self.nodes[new].wanted = true;
        self.nodes[new].back_at = Instant::now();
        Ok(true)
    }

    /// Has a new process with the newest rules take over from the one at work. False: none is at work.
    pub(crate) fn hand_over(&mut self, gateway: usize) -> Result<bool, StartError> {
        if !self.at_work().contains(&gateway) {
            return Ok(false);
        }
        self.write_rules(gateway)?;
        match self.nodes[gateway].running.upgrade() {
            Ok(old) => self.leaving.push((old, Instant::now())),
            Err(error) => {
                let text = error.to_string();
                let text = text.lines().next().unwrap_or_default();
                self.oddities.push(format!("a hand-over failed: {text}"));
            }
        }
        Ok(true)
    }

    /// Starts what is to run, and takes note of what has terminated.
    pub(crate) fn tick(&mut self) -> Result<(), StartError> {
        let now = Instant::now();
        for number in 0..self.nodes.len() {
            let ready = |at: usize| !self.nodes[at].paused && is_ready(&self.nodes[at].running);
            let due = self.nodes[number].ends_at.is_some_and(|at| at <= now);
            let due = due
                && self.processes_of(number % self.gateways).any(|at| at != number && ready(at));
            let node = &mut self.nodes[number];
            if let Some(status) = node.running.wait(Duration::ZERO) {
                if node.leaving.take().is_none() {
                    self.oddities.push(format!("gateway {number} terminated by itself: {status}"));
                    node.back_at = now + RESTART;
                }
                node.paused = false;
            }
            if due {
                node.ends_at = None;
                node.wanted = false;
                node.leaving = node.running.signal("TERM").is_ok().then_some(now);
            }
            if node.leaving.is_some_and(|since| now - since > TERMINATION) {
                self.oddities.push(format!("gateway {number} did not terminate after SIGTERM"));
                node.running.kill9();
                node.leaving = None;
            }
            if node.wanted && node.running.pid().is_none() && node.back_at <= now {
                node.running.begin()?;
            }
        }
        let leaves = |(process, since): &mut (Process, Instant)| {
            process.wait(Duration::ZERO).is_none() && now - *since < TERMINATION
        };
        self.leaving.retain_mut(leaves);
        Ok(())
    }

    /// Whether each gateway has exactly one process, and that is ready.
    pub(crate) fn is_whole(&self) -> bool {
        let over = |node: &&Node| node.running.pid().is_some() || node.wanted;
        let up = self.nodes.iter().filter(over).filter(|node| is_ready(&node.running)).count();
        let all = self.nodes.iter().filter(over).count();
        up == self.gateways && all == self.gateways && self.leaving.is_empty()
    }

    fn processes_of(&self, gateway: usize) -> impl Iterator<Item = usize> + use<> {
        (gateway..self.nodes.len()).step_by(self.gateways)
    }

    fn write_rules(&self, number: usize) -> Result<(), StartError> {
        let rules = hooks::rules(self.hooks, &self.sink, self.versions);
        let running = &self.nodes[number].running;
        let what = || running.folder().display().to_string();
        running.write_rules(&rules).map_err(|source| StartError::Io { what: what(), source })
    }
}

/// Whether `/readyz` responds with 200 soon: it is asked by the thread that lets stopped processes go on.
fn is_ready(gateway: &Running) -> bool {
    let ask = || {
        let mut socket = TcpStream::connect_timeout(&gateway.admin().address(), ASK)?;
        socket.set_read_timeout(Some(ASK))?;
        socket.write_all(b"GET /readyz HTTP/1.1\r\nHost: as2hook\r\nConnection: close\r\n\r\n")?;
        let mut line = [0; 12];
        socket.read_exact(&mut line)?;
        std::io::Result::Ok(line)
    };
    ask().is_ok_and(|line| line.ends_with(b" 200"))
}
