//! What systemd does with the gateway: it is notified, keeps the listening sockets over a restart, and passes them to
//! the next process. systemd itself is tried by `tests/package/run`; here a socket stands in for it.

use std::{
    fs,
    io::{IoSliceMut, Read as _, Write as _},
    mem::MaybeUninit,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::net::UnixDatagram,
    },
    path::Path,
};

use as2hook_testing::{Endpoint, Gateway, Running, receiver, sink};
use rustix::{
    io::{FdFlags, fcntl_setfd},
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg},
};
use tempfile::TempDir;

use super::{ENDED_WELL, SOON, gateway, send};

const UNIT: &str = include_str!("../../conf/systemd/as2hook.service");

/// Stands in for systemd.
struct Manager {
    socket: UnixDatagram,
    folder: TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        Self { socket, folder }
    }

    /// Has it supervise a gateway.
    fn of(&self, gateway: Gateway) -> Gateway {
        let path = self.folder.path().join("notify");
        gateway.environment("NOTIFY_SOCKET", path.to_str().unwrap())
    }

    /// The next notification, and what was passed with it.
    fn next(&self) -> (String, Vec<OwnedFd>) {
        let mut text = [0; 256];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut slices = [IoSliceMut::new(&mut text)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let length = recvmsg(&self.socket, &mut slices, &mut control, flags).unwrap().bytes;
        let mut passed = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(sockets) = message {
                passed.extend(sockets);
            }
        }
        (String::from_utf8_lossy(&text[..length]).into_owned(), passed)
    }

    /// The sockets that it is to keep, by their names, until the gateway serves.
    fn kept(&self, gateway: &Running) -> Vec<(String, TcpListener)> {
        let mut kept: Vec<(String, TcpListener)> = Vec::new();
        loop {
            let (text, passed) = self.next();
            if let Some(name) = text.strip_prefix("FDSTOREREMOVE=1\nFDNAME=") {
                kept.retain(|(known, _)| known != name);
            } else if let Some(name) = text.strip_prefix("FDSTORE=1\nFDNAME=") {
                kept.extend(passed.into_iter().map(|it| (name.to_owned(), it.into())));
            } else {
                assert_eq!(text, format!("READY=1\nMAINPID={}", gateway.pid().unwrap()));
                return kept;
            }
        }
    }
}

fn addresses(kept: &[(String, TcpListener)]) -> Vec<(&str, SocketAddr)> {
    kept.iter().map(|(name, socket)| (name.as_str(), socket.local_addr().unwrap())).collect()
}

/// Passes these sockets to each process that is started from now on, as systemd does.
fn pass(gateway: &mut Running, kept: &[(String, TcpListener)]) {
    let mut script = String::new();
    for ((_, socket), number) in kept.iter().zip(3..) {
        fcntl_setfd(socket, FdFlags::empty()).unwrap();
        let given = socket.as_raw_fd();
        script += &format!("exec {number}<&{given} {given}<&-; ");
    }
    let count = kept.len();
    script += &format!("LISTEN_PID=$$ LISTEN_FDS={count} exec \"$0\" \"$@\"");
    // Debian's sh takes numbers of one digit alone.
    gateway.set_wrapper(&["bash", "-c", &script]);
}

/// A gateway whose sockets the manager keeps.
fn kept_by(manager: &Manager, receiver: &Endpoint, sink: &Endpoint) -> Running {
    manager.of(gateway(receiver, sink)).environment("FDSTORE", "8").start().unwrap()
}

#[test]
fn systemd_is_notified_which_process_is_the_main_one() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let manager = Manager::new();
    let mut gateway = manager.of(gateway(&receiver, &sink)).start().unwrap();
    let serves = |gateway: &Running| format!("READY=1\nMAINPID={}", gateway.pid().unwrap());
    assert_eq!(manager.next().0, serves(&gateway));
    let mut old = gateway.upgrade().unwrap();
    assert_eq!(manager.next().0, serves(&gateway));
    assert_eq!(old.wait(SOON).unwrap().to_string(), ENDED_WELL);
    assert!(gateway.sigterm(SOON).unwrap().unwrap().success());
    assert_eq!(manager.next().0, "STOPPING=1");
    manager.socket.shutdown(Shutdown::Both).unwrap();
}

#[test]
fn restart_with_kept_sockets_refuses_no_connection() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let manager = Manager::new();
    let mut gateway = kept_by(&manager, &receiver, &sink);
    let (inbound, admin) = (gateway.inbound().address(), gateway.admin().address());
    let kept = manager.kept(&gateway);
    assert_eq!(addresses(&kept), [("inbound", inbound), ("admin", admin)]);
    for _ in 0..3 {
        assert!(gateway.sigterm(SOON).unwrap().unwrap().success());
        assert_eq!(manager.next().0, "STOPPING=1");
        let mut waiting = TcpStream::connect(inbound).unwrap();
        waiting.set_read_timeout(Some(SOON)).unwrap();
        waiting.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        pass(&mut gateway, &kept);
        gateway.start().unwrap();
        let mut response = String::new();
        waiting.read_to_string(&mut response).unwrap();
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
        send(&gateway, 200);
        // They are the same sockets: the manager has them already.
        assert_eq!(addresses(&manager.kept(&gateway)), addresses(&kept));
    }
    // A process that takes over has them kept as well, those that it bound itself instead of the former.
    drop(kept);
    gateway.set_wrapper(&["env"]);
    let mut old = gateway.upgrade().unwrap();
    assert_eq!(addresses(&manager.kept(&gateway)), [("inbound", inbound), ("admin", admin)]);
    assert_eq!(old.wait(SOON).unwrap().to_string(), ENDED_WELL);
}

#[test]
fn killed_process_leaves_its_connections_to_the_next_one() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let manager = Manager::new();
    let mut gateway = kept_by(&manager, &receiver, &sink);
    let kept = manager.kept(&gateway);
    gateway.kill9();
    let mut waiting = gateway.inbound().connect().unwrap();
    waiting.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    pass(&mut gateway, &kept);
    gateway.start().unwrap();
    assert_eq!(waiting.read_reply("GET").unwrap().status, 200);
}

#[test]
fn kept_socket_of_another_address_is_given_up() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let manager = Manager::new();
    let mut gateway = kept_by(&manager, &receiver, &sink);
    let kept = manager.kept(&gateway);
    let (before, port) = (gateway.inbound().address(), gateway.inbound().address().port());
    assert!(gateway.sigterm(SOON).unwrap().unwrap().success());
    assert_eq!(manager.next().0, "STOPPING=1");
    // The new address overlaps with the old one, which the manager has to leave first.
    let config = fs::read_to_string(gateway.config_file()).unwrap();
    let all = format!("0.0.0.0:{port}");
    gateway.write("as2hook.yaml", &config.replace(&before.to_string(), &all)).unwrap();
    pass(&mut gateway, &kept);
    let manager = std::thread::spawn(move || {
        for name in ["inbound", "outbound", "admin"] {
            assert_eq!(manager.next().0, format!("FDSTOREREMOVE=1\nFDNAME={name}"));
        }
        drop(kept);
        manager
    });
    gateway.start().unwrap();
    let manager = manager.join().unwrap();
    send(&gateway, 200);
    let now = manager.kept(&gateway);
    assert!(addresses(&now).contains(&("inbound", all.parse().unwrap())), "{now:?}");
}

#[test]
fn start_that_fails_gives_the_kept_sockets_up() {
    let (receiver, sink) = (receiver().start(), sink().start());
    let manager = Manager::new();
    let mut gateway = kept_by(&manager, &receiver, &sink);
    let kept = manager.kept(&gateway);
    gateway.kill9();
    gateway.write("as2hook.yaml", "receiver: none\n").unwrap();
    pass(&mut gateway, &kept);
    // Nothing responds on the sockets, so readiness is not asked for.
    gateway.begin().unwrap();
    assert_eq!(gateway.wait(SOON).unwrap().code(), Some(1));
    for name in ["inbound", "outbound", "admin"] {
        assert_eq!(manager.next().0, format!("FDSTOREREMOVE=1\nFDNAME={name}"));
    }
}

/// The lines of the unit that a reload and a restart stand on: `NotifyAccess=main` or `exec` kills the service at the
/// first reload.
#[test]
fn unit_has_what_reload_and_restart_need() {
    let setting = |name: &str| {
        let lines = UNIT.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        lines.collect::<Vec<_>>()
    };
    assert_eq!(setting("Type"), ["notify"]);
    assert_eq!(setting("NotifyAccess"), ["all"]);
    assert_eq!(setting("FileDescriptorStoreMax"), ["8"]);
    assert_eq!(setting("Environment"), ["FDSTORE=8"]);
    assert_eq!(setting("PIDFile"), [""; 0]);
    let [reload] = setting("ExecReload")[..] else { panic!("one command reloads") };
    assert!(reload.contains("as2hook upgrade ") && reload.ends_with("--pid $MAINPID"), "{reload}");
    assert!(Path::new("conf/systemd/as2hook.sysusers").exists());
}
