//! One request and its reply over a stream.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::ReadBuf;

use crate::address::Stream;

/// The read size: what a server may send at once without a second system call here.
const SCRATCH_BYTES: usize = 256 * 1024;

thread_local! {
    /// Data is checked and discarded at once, so all connections share one buffer.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into());
}

/// Checks the bytes of a reply, for one mode.
pub(crate) trait Reply {
    /// Checks the next bytes; returns whether the reply is complete.
    ///
    /// An error means a wrong reply, and ends the connection.
    fn accept(&mut self, bytes: &[u8]) -> io::Result<bool>;
}

/// Sends `request`, and passes received bytes to `reply` until it is complete.
///
/// Writes and reads concurrently: a server may echo a large message before it has arrived completely, and
/// both sides would deadlock if neither read.
pub(crate) async fn converse(
    stream: &mut dyn Stream,
    request: &[u8],
    reply: &mut impl Reply,
) -> io::Result<()> {
    let mut sent = 0;
    let mut complete = false;
    poll_fn(|context| {
        let blocked = send(stream, context, request, &mut sent)?;
        while !complete {
            complete = ready!(receive(stream, context, reply))?;
        }
        if blocked {
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    })
    .await
}

/// Sends as much as the kernel accepts, encrypted with TLS; returns whether some is left.
fn send(
    stream: &mut dyn Stream,
    context: &mut Context<'_>,
    request: &[u8],
    sent: &mut usize,
) -> io::Result<bool> {
    while *sent < request.len() {
        match Pin::new(&mut *stream).poll_write(context, &request[*sent..]) {
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(written)) => *sent += written,
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => return Ok(true),
        }
    }
    Ok(Pin::new(stream).poll_flush(context)?.is_pending())
}

fn receive(
    stream: &mut dyn Stream,
    context: &mut Context<'_>,
    reply: &mut impl Reply,
) -> Poll<io::Result<bool>> {
    SCRATCH.with_borrow_mut(|scratch| {
        let mut buffer = ReadBuf::new(scratch);
        ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
        if buffer.filled().is_empty() {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the server closed the connection",
            )));
        }
        Poll::Ready(reply.accept(buffer.filled()))
    })
}
