//! A connection whose handshake is done, and who is at its other end.
//!
//! Bytes in and out; ends when the guard says so. Never judges what the certificate is worth. Called by tonic.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::guard::Ticket;
use super::room::{Ended, Room};

/// A stranger's life sign is noted once in this part of its idle deadline: reading takes no lock otherwise.
const HEARD_PART: u32 = 8;

/// Who is at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// From where it came.
    pub address: SocketAddr,
    /// The leaf it showed, DER, verified by the listener's configuration; absent: a stranger.
    pub certificate: Option<Vec<u8>>,
}

/// A place in the guard's books, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    room: Arc<Room>,
    ticket: Ticket,
}

/// A connection. Its socket is closed before its place is given back.
#[derive(Debug)]
pub struct Conn {
    stream: TlsStream<TcpStream>,
    peer: Arc<Peer>,
    ended: Option<Ended>,
    noted: Option<Instant>,
    seat: Seat,
}

// === impl Seat ===

impl Seat {
    pub(super) fn new(room: Arc<Room>, ticket: Ticket) -> Seat {
        Seat { room, ticket }
    }

    pub(super) fn room(&self) -> &Room {
        &self.room
    }

    pub(super) fn ticket(&self) -> Ticket {
        self.ticket
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.room.leave(self.ticket);
    }
}

// === impl Conn ===

impl Conn {
    pub(super) fn new(stream: TlsStream<TcpStream>, peer: Peer, seat: Seat, ended: Ended) -> Conn {
        let noted = peer.certificate.is_none().then(Instant::now);
        Conn { stream, peer: Arc::new(peer), ended: Some(ended), noted, seat }
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// An error once the guard has ended it.
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if let Some(ended) = &mut self.ended {
            if Pin::new(ended).poll(cx).is_pending() {
                return Ok(());
            }
            self.ended = None;
            // Nothing of it stays in the kernel.
            let _ = self.stream.get_ref().0.set_zero_linger();
        }
        Err(io::Error::new(
            io::ErrorKind::ConnectionAborted,
            "closed by the listener: silent for too long, or for another",
        ))
    }

    fn note_heard(&mut self) {
        let Some(noted) = &mut self.noted else { return };
        if noted.elapsed() >= self.seat.room.limits().stranger_idle / HEARD_PART {
            *noted = Instant::now();
            self.seat.room.heard(self.seat.ticket);
        }
    }
}

impl Connected for Conn {
    type ConnectInfo = Arc<Peer>;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.peer.clone()
    }
}

impl AsyncRead for Conn {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_ended(cx)?;
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.note_heard();
        }
        read
    }
}

impl AsyncWrite for Conn {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_ended(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_ended(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_ended(cx)?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_ended(cx)?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
