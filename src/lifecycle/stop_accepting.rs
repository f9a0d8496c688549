//! Stops new connections in the kernel, and keeps those that it has completed.
//!
//! A listening socket that is closed resets every connection that the kernel has completed on it and
//! the process has not accepted. Until then new ones come, so there is no moment to close it but after this.

use std::{io, net::TcpListener};

use socket2::{SockFilter, SockRef};

/// Where the flags are in a TCP header (RFC 9293 section 3.1).
const FLAGS: u32 = 13;
const SYN: u32 = 0x02;
const ACK: u32 = 0x10;

// Instructions of the classic packet filter.
const LOAD_BYTE: u16 = 0x30;
const AND: u16 = 0x54;
const JUMP_IF_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// From now on requests to connect are dropped unanswered: their senders ask again a second later, and by
/// then are refused, or reach the next process. Handshakes that have begun go on.
pub(super) fn refuse_new(listener: &TcpListener) -> io::Result<()> {
    let program = [
        SockFilter::new(LOAD_BYTE, 0, 0, FLAGS),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ];
    SockRef::from(listener).attach_filter(&program)
}

#[cfg(test)]
mod tests {
    use std::{net::TcpStream, time::Duration};

    use super::*;

    #[test]
    fn completed_connection_stays_and_later_one_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let _through = TcpStream::connect(address).unwrap();
        refuse_new(&listener).unwrap();
        let late = TcpStream::connect_timeout(&address, Duration::from_millis(200));
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut);
        listener.accept().unwrap();
        drop(listener);
        let refused = TcpStream::connect(address).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
}
