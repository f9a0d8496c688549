//! A TCP connection that counts what is read from it, as hyper's pool sees it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::ConnectionUsage;

/// A TCP connection that reads no more than its [`ConnectionUsage`] allows.
pub(super) struct MeteredTcp {
    tcp: TcpStream,
    uses: ConnectionUsage,
}

// === impl MeteredTcp ===

impl MeteredTcp {
    pub(super) fn new(tcp: TcpStream) -> Self {
        Self { tcp, uses: ConnectionUsage::default() }
    }
}

impl Connection for MeteredTcp {
    fn connected(&self) -> Connected {
        Connected::new().extra(self.uses.clone())
    }
}

impl AsyncRead for MeteredTcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.uses.may_read() {
            let text =
                "the endpoint sent too much, or in too small pieces, before the end of its answer";
            return Poll::Ready(Err(io::Error::other(text)));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.tcp).poll_read(context, buffer))?;
        self.uses.has_read(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for MeteredTcp {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    async fn pair() -> (MeteredTcp, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (MeteredTcp::new(ours), listener.accept().await.unwrap().0)
    }

    /// Each read costs CPU, and hyper parses a head again with every piece of it.
    #[tokio::test]
    async fn endpoint_that_sends_single_bytes_is_read_a_few_thousand_times_at_the_most() {
        let (mut ours, mut theirs) = pair().await;
        let most = ConnectionUsage::READ_MAX / ConnectionUsage::READ_LEAST;
        for _ in 0..most {
            theirs.write_all(b"x").await.unwrap();
            ours.read_u8().await.unwrap();
        }
        theirs.write_all(b"x").await.unwrap();
        let error = ours.read_u8().await.unwrap_err();
        assert!(error.to_string().starts_with("the endpoint sent too much"), "{error}");

        ours.uses.response_ended();
        assert_eq!(ours.read_u8().await.unwrap(), b'x', "the next answer has its own measure");
    }

    #[tokio::test]
    async fn endpoint_that_sends_without_end_is_read_a_mebibyte_at_the_most() {
        let (mut ours, mut theirs) = pair().await;
        tokio::spawn(async move { while theirs.write_all(&[b'x'; 64 * 1024]).await.is_ok() {} });
        let (mut read, mut buffer) = (0, vec![0; 64 * 1024]);
        while let Ok(more) = ours.read(&mut buffer).await {
            read += more;
        }
        assert!(read < ConnectionUsage::READ_MAX + buffer.len(), "{read}");
    }
}
