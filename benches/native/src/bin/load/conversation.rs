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

/// As much as a server may send at once without costing us a second system call.
const SCRATCH_BYTES: usize = 256 * 1024;

thread_local! {
    /// What was read is judged at once and dropped, so all connections share one buffer.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into());
}

/// What a mode does with the bytes that come back.
pub(crate) trait Reply {
    /// Takes the next bytes; says whether the reply is complete.
    ///
    /// An error is a wrong reply: it ends the connection.
    fn accept(&mut self, bytes: &[u8]) -> io::Result<bool>;
}

/// Sends `request` and hands what comes back to `reply` until it is complete.
///
/// Writes and reads at the same time: a server that echoes a large message while it still arrives
/// would otherwise wait for us to read while we wait for it to read.
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

/// Sends what the kernel takes, or what TLS makes of it; says whether some is left.
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
