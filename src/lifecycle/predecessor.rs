//! Finds the process that a new one is to replace: the one that listens on an address of the config, as `/proc`
//! shows it to this user.

use std::{
    collections::HashSet,
    env, fs, io,
    net::{IpAddr, SocketAddr},
};

use rustix::process::{Pid, geteuid, getpid};

use super::handover::HandoverError;

/// `LISTEN` as the kernel prints it.
const LISTEN: &str = "0A";

/// Returns the process, and which of these addresses it listens on. With `named`, no other.
pub(super) fn find(
    addresses: &[SocketAddr],
    named: Option<Pid>,
) -> Result<(SocketAddr, Pid), HandoverError> {
    let (address, pid) = find_listening(addresses, named)?;
    may_replace(pid)?;
    Ok((address, pid))
}

/// A new process would run as another user than the old one, or a service without its manager.
fn may_replace(pid: Pid) -> Result<(), HandoverError> {
    let process = pid.as_raw_pid();
    if let Some(user) = user(pid)
        && user != geteuid().as_raw()
    {
        return Err(HandoverError::OtherUser { process, user });
    }
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let mut variables = environment.split(|byte| *byte == 0);
    let is_service = variables.any(|variable| variable.starts_with(b"NOTIFY_SOCKET="));
    if is_service && env::var_os("NOTIFY_SOCKET").is_none() {
        return Err(HandoverError::Service(process));
    }
    Ok(())
}

fn find_listening(
    addresses: &[SocketAddr],
    named: Option<Pid>,
) -> Result<(SocketAddr, Pid), HandoverError> {
    let candidates = match named {
        Some(pid) => vec![pid],
        None => processes_of_our_name()?,
    };
    let listening = listening_sockets();
    for address in addresses {
        let inodes = listening.iter().filter(|(bound, _)| bound == address);
        let inodes: HashSet<_> = inodes.map(|(_, inode)| format!("socket:[{inode}]")).collect();
        let mut found = Vec::new();
        for pid in &candidates {
            match has_any(*pid, &inodes) {
                Ok(true) => found.push(*pid),
                Ok(false) => {}
                // Its capabilities may keep this user from looking; it is taken at its word.
                Err(error) if named.is_some() && error.kind() != io::ErrorKind::NotFound => {
                    return Ok((*address, *pid));
                }
                Err(_) => {}
            }
        }
        match found[..] {
            [] => {}
            [pid] => return Ok((*address, pid)),
            _ => return Err(HandoverError::Several(*address)),
        }
    }
    match (named, addresses.first()) {
        (Some(pid), _) => Err(HandoverError::NotListening(pid.as_raw_pid())),
        (None, Some(address)) => Err(HandoverError::Hidden(*address)),
        (None, None) => Err(HandoverError::NoGateway),
    }
}

/// Returns the other processes of this program: SIGQUIT ends one of another program.
fn processes_of_our_name() -> io::Result<Vec<Pid>> {
    let name = fs::read("/proc/self/comm")?;
    let entries = fs::read_dir("/proc")?.filter_map(Result::ok);
    let pids = entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    let is_ours = |pid: &Pid| fs::read(format!("/proc/{pid}/comm")).is_ok_and(|it| it == name);
    Ok(pids.filter(|pid| *pid != getpid() && is_ours(pid)).collect())
}

/// Returns the TCP sockets that listen, and their inodes.
fn listening_sockets() -> Vec<(SocketAddr, u64)> {
    let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
    let texts = tables.iter().filter_map(|table| fs::read_to_string(table).ok());
    texts.flat_map(|text| text.lines().filter_map(listening_socket).collect::<Vec<_>>()).collect()
}

/// Reads a line of the kernel's table: `sl local_address rem_address st … inode`.
fn listening_socket(line: &str) -> Option<(SocketAddr, u64)> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
    let (ip, port) = local.split_once(':')?;
    let words = ip.as_bytes().chunks(8).map(|word| {
        let word = u32::from_str_radix(str::from_utf8(word).ok()?, 16).ok()?;
        // The kernel prints a word of the address in the machine's byte order.
        Some(word.to_ne_bytes())
    });
    let bytes = words.collect::<Option<Vec<_>>>()?.concat();
    let ip = match <[u8; 4]>::try_from(&bytes[..]) {
        Ok(four) => IpAddr::from(four),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(&bytes[..]).ok()?),
    };
    let port = u16::from_str_radix(port, 16).ok()?;
    (*state == LISTEN).then_some((SocketAddr::new(ip, port), inode.parse().ok()?))
}

fn has_any(pid: Pid, sockets: &HashSet<String>) -> io::Result<bool> {
    let open = fs::read_dir(format!("/proc/{pid}/fd"))?.filter_map(Result::ok);
    let mut links = open.filter_map(|entry| fs::read_link(entry.path()).ok());
    Ok(links.any(|link| link.to_str().is_some_and(|link| sockets.contains(link))))
}

/// Returns its effective user.
fn user(pid: Pid) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn table_line_is_read_as_address_and_inode() {
        let rest = "00000000:00000000 00:00000000 00000000  1000        0 4711 1 0000 100 0 0 10 0";
        for (local, address) in [
            ("0100007F:1F90", "127.0.0.1:8080"),
            ("00000000:0050", "0.0.0.0:80"),
            ("00000000000000000000000001000000:1F91", "[::1]:8081"),
        ] {
            let line = format!("   0: {local} 00000000:0000 0A {rest}");
            if cfg!(target_endian = "little") {
                assert_eq!(listening_socket(&line), Some((address.parse().unwrap(), 4711)));
            }
            assert_eq!(listening_socket(&line.replace(" 0A ", " 01 ")), None);
        }
        for wrong in ["", "  sl  local_address rem_address   st", "0: 0100007F 0 0A"] {
            assert_eq!(listening_socket(wrong), None);
        }
    }

    #[test]
    fn process_that_listens_is_found() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            // A machine without IPv6 has no such address.
            let Ok(socket) = TcpListener::bind(any) else { continue };
            let address = socket.local_addr().unwrap();
            let own = getpid();
            assert_eq!(find(&[address], Some(own)).unwrap(), (address, own));
            drop(socket);
            let gone = find(&[address], Some(own));
            assert!(matches!(gone, Err(HandoverError::NotListening(_))), "{gone:?}");
        }
    }

    #[test]
    fn user_of_a_process_is_known() {
        assert_eq!(user(getpid()), Some(geteuid().as_raw()));
    }

    #[test]
    fn address_of_no_other_process_has_none() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let found = find(&[address], None);
        assert!(matches!(found, Err(HandoverError::Hidden(it)) if it == address), "{found:?}");
        assert!(matches!(find(&[], None), Err(HandoverError::NoGateway)));
    }
}
