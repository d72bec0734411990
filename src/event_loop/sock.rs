//! `sock_recv` and related methods: each returns an awaitable, whose call starts when it is awaited.

use std::cell::Cell;

use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::ffi::{Args, add_fast_method, make, method, missing};
use crate::scheduler::Core;
use crate::scheduler::watchers::Side;
use crate::sock::attempt::{Operation, SendAll, What};
use crate::sock::call;

pub(super) fn add_methods(class: &Bound<'_, PyType>) -> PyResult<()> {
    add_fast_method::<Recv>(class)?;
    add_fast_method::<RecvInto>(class)?;
    add_fast_method::<RecvFrom>(class)?;
    add_fast_method::<RecvFromInto>(class)?;
    add_fast_method::<Sendall>(class)?;
    add_fast_method::<SendTo>(class)?;
    add_fast_method::<Accept>(class)?;
    add_fast_method::<Writable>(class)
}

type This = Core;

method!(
    Recv,
    "sock_recv",
    "($self, sock, n)",
    "Receive up to `n` bytes; `b''` at the end of the stream.",
    |this, arguments| {
        let [sock, size] = required(arguments, "sock_recv", ["sock", "n"])?;
        awaitable(this, "sock_recv", sock, What::Receive { size })
    }
);

method!(
    RecvInto,
    "sock_recv_into",
    "($self, sock, buf)",
    "Receive into a writable buffer; return the number of bytes, 0 at the end of the stream.",
    |this, arguments| {
        let [sock, buffer] = required(arguments, "sock_recv_into", ["sock", "buf"])?;
        awaitable(this, "sock_recv_into", sock, What::ReceiveInto { buffer })
    }
);

method!(
    RecvFrom,
    "sock_recvfrom",
    "($self, sock, bufsize)",
    "Receive a datagram of up to `bufsize` bytes; return it and the sender's address.",
    |this, arguments| {
        let [sock, size] = required(arguments, "sock_recvfrom", ["sock", "bufsize"])?;
        awaitable(this, "sock_recvfrom", sock, What::ReceiveFrom { size })
    }
);

method!(
    RecvFromInto,
    "sock_recvfrom_into",
    "($self, sock, buf, nbytes=0)",
    "Receive a datagram into a writable buffer; return the number of bytes and the sender's address.",
    |this, arguments| {
        let method = "sock_recvfrom_into";
        let [sock, buffer, size] = arguments.named(method, ["sock", "buf", "nbytes"])?;
        let sock = sock.ok_or_else(|| missing(method, "sock"))?;
        let buffer = buffer.ok_or_else(|| missing(method, "buf"))?;
        let size = match size {
            Some(size) => size.to_owned(),
            None => make::int(this.py(), 0)?.into_any(),
        };
        let (buffer, size) = (buffer.to_owned().unbind(), size.unbind());
        let what = What::ReceiveFromInto { buffer, size };
        awaitable(this, method, sock.to_owned().unbind(), what)
    }
);

method!(
    Sendall,
    "sock_sendall",
    "($self, sock, data)",
    "Send all of `data`.",
    |this, arguments| {
        let [sock, data] = required(arguments, "sock_sendall", ["sock", "data"])?;
        awaitable(
            this,
            "sock_sendall",
            sock,
            What::SendAll(SendAll::new(data)),
        )
    }
);

method!(
    SendTo,
    "sock_sendto",
    "($self, sock, data, address)",
    "Send a datagram to `address`; return the number of bytes sent.",
    |this, arguments| {
        let [sock, data, address] =
            required(arguments, "sock_sendto", ["sock", "data", "address"])?;
        awaitable(this, "sock_sendto", sock, What::SendTo { data, address })
    }
);

method!(
    Accept,
    "sock_accept",
    "($self, sock)",
    "Accept a connection; return its non-blocking socket and the peer's address.",
    |this, arguments| {
        let [sock] = required(arguments, "sock_accept", ["sock"])?;
        awaitable(this, "sock_accept", sock, What::Accept)
    }
);

method!(
    Writable,
    "_sock_writable",
    "($self, sock)",
    "Wait until the socket takes bytes, or is connected.",
    |this, arguments| {
        let [sock] = required(arguments, "_sock_writable", ["sock"])?;
        awaitable(
            this,
            "_sock_writable",
            sock,
            What::Wait(Side::Writer, Cell::new(false)),
        )
    }
);

/// The values of these arguments, all of which are required.
fn required<const N: usize>(
    arguments: Args<'_, '_>,
    method: &str,
    names: [&str; N],
) -> PyResult<[Py<PyAny>; N]> {
    let values = arguments.named(method, names)?;
    if let Some(index) = values.iter().position(Option::is_none) {
        return Err(missing(method, names[index]));
    }
    Ok(values.map(|value| value.expect("none is missing").to_owned().unbind()))
}

/// A call that starts when it is awaited.
fn awaitable<'py>(
    this: &Bound<'py, Core>,
    method: &'static str,
    sock: Py<PyAny>,
    what: What,
) -> PyResult<Bound<'py, PyAny>> {
    call::new(this, method, Operation::new(sock, what))
}
