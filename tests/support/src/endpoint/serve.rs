//! One connection of an endpoint, from its first byte to its last.

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use super::{Idle, Shared};
use crate::http::{Framing, Head, Request, read_body, read_head};
use crate::response::{Conduct, Response};
use crate::stream::{self, PATIENCE, Stream};

/// Serves a connection until either side has enough of it. Errors end it: they are the other side's
/// business, and the test sees them there.
pub(super) fn connection(shared: &Shared, socket: TcpStream, number: usize) {
    let Ok(copy) = socket.try_clone() else { return };
    let served = open(shared, socket).and_then(|stream| serve(shared, stream, number));
    // The endpoint holds handles of its own, so dropping ours would not close the connection.
    drop((served, copy.shutdown(Shutdown::Both)));
}

fn open(shared: &Shared, socket: TcpStream) -> io::Result<Stream> {
    let Some(acceptor) = &shared.tls else { return Stream::plain(socket) };
    stream::set_up(&socket)?;
    let tls = acceptor.accept(socket).map_err(io::Error::other)?;
    Ok(Stream::Tls(Box::new(tls)))
}

fn serve(shared: &Shared, stream: Stream, connection: usize) -> io::Result<()> {
    let client = stream.peer_name();
    let mut wire = BufReader::with_capacity(64 << 10, stream);
    for nth in 0.. {
        if nth > 0 && !stays_open(shared, &mut wire)? {
            return Ok(());
        }
        let Some(head) = read_head(&mut wire)? else { return Ok(()) };
        let response = shared.response_to(&head);
        let mut request = begin(head, connection, nth, client.clone());
        if !exchange(shared, &mut wire, &response, &mut request)? || response.close {
            return Ok(());
        }
        if request.head.has_token("Connection", "close") || request.head.line.ends_with("/1.0") {
            return Ok(());
        }
    }
    Ok(())
}

/// One request and its response. False: the connection ends here.
fn exchange(
    shared: &Shared,
    wire: &mut BufReader<Stream>,
    response: &Response,
    request: &mut Request,
) -> io::Result<bool> {
    match response.conduct {
        Conduct::CloseEarly => {
            shared.record(Arc::new(request.clone()));
            return Ok(false);
        }
        Conduct::Deaf => {
            shared.record(Arc::new(request.clone()));
            shared.wait_for_stop();
            return Ok(false);
        }
        Conduct::RespondEarly => {
            response.write_interim(wire.get_mut())?;
            response.write_final(request, wire.get_mut())?;
        }
        Conduct::Respond | Conduct::Close | Conduct::Silence => {
            if response.invite && request.head.has_token("Expect", "100-continue") {
                wire.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
        }
    }
    let (body, error) = read_body(wire, &mut request.framing, shared.keep);
    request.body = body;
    request.complete = error.is_none();
    request.ended = Instant::now();
    shared.record(Arc::new(request.clone()));
    if let Some(error) = error {
        return Err(error);
    }
    match response.conduct {
        Conduct::Respond => {
            response.write_interim(wire.get_mut())?;
            thread::sleep(response.delay);
            response.write_final(request, wire.get_mut())?;
            Ok(true)
        }
        Conduct::Silence => {
            shared.wait_for_stop();
            Ok(false)
        }
        Conduct::RespondEarly => Ok(true),
        Conduct::Close | Conduct::CloseEarly | Conduct::Deaf => Ok(false),
    }
}

fn begin(head: Head, connection: usize, nth: usize, client: Option<String>) -> Request {
    let framing = Framing::of_request(&head);
    let began = Instant::now();
    Request {
        connection,
        nth,
        client,
        head,
        framing,
        body: Default::default(),
        complete: false,
        began,
        ended: began,
    }
}

/// Waits for the next request as the endpoint is set to.
fn stays_open(shared: &Shared, wire: &mut BufReader<Stream>) -> io::Result<bool> {
    let idle = shared.lock().idle;
    match idle {
        Idle::Keep => Ok(true),
        Idle::CloseOnReuse => {
            wire.fill_buf()?;
            Ok(false)
        }
        Idle::CloseAfter(wait) if wait.is_zero() => Ok(false),
        Idle::CloseAfter(wait) => {
            wire.get_ref().socket().set_read_timeout(Some(wait))?;
            let came = wire.fill_buf().map(|bytes| !bytes.is_empty());
            wire.get_ref().socket().set_read_timeout(Some(PATIENCE))?;
            match came {
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    Ok(false)
                }
                other => other,
            }
        }
    }
}
