//! `sock_recv` and its kin: each makes an awaitable, which begins when it is awaited.

use std::ffi::CStr;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::ffi::{Args, FastMethod, add_fast_method, make};
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

/// Declares a method whose arguments are all required, and what its awaitable does.
macro_rules! method {
    ($type:ident, $name:literal, [$($argument:ident),+], $doc:literal, |$py:ident| $what:expr) => {
        method!($type, $name, [$($argument),+], [], $doc, |$py| $what);
    };
    ($type:ident, $name:literal, [$sock:ident $(, $argument:ident)*], [$($optional:ident),*],
     $doc:literal, |$py:ident| $what:expr) => {
        struct $type;

        impl FastMethod for $type {
            type Receiver = Core;
            const NAME: &'static CStr =
                crate::ffi::text(concat!($name, "\0"));
            const DOC: &'static CStr = crate::ffi::text(concat!(
                    $name, "($self, ", stringify!($sock),
                    $(", ", stringify!($argument),)*
                    $(", ", stringify!($optional), "=0",)*
                    ")\n--\n\n", $doc, "\0"
                )
                );

            fn call<'py>(
                this: &Bound<'py, Core>,
                arguments: Args<'_, 'py>,
            ) -> PyResult<Bound<'py, PyAny>> {
                let $py = this.py();
                let names = [
                    stringify!($sock),
                    $(stringify!($argument),)*
                    $(stringify!($optional),)*
                ];
                let mut values = arguments.named($name, names)?.into_iter();
                let mut next = || Some(values.next()??.to_owned().unbind());
                let $sock = next().ok_or_else(|| missing($name, stringify!($sock)))?;
                $(let $argument = next().ok_or_else(|| missing($name, stringify!($argument)))?;)*
                $(let $optional = next();)*
                call::new(this, $name, Operation::new($sock, $what))
            }
        }
    };
}

method!(
    Recv,
    "sock_recv",
    [sock, n],
    "Receive up to `n` bytes; `b''` at the end of the stream.",
    |_py| What::Receive { size: n }
);

method!(
    RecvInto,
    "sock_recv_into",
    [sock, buf],
    "Receive into a writable buffer; how many bytes, 0 at the end of the stream.",
    |_py| What::ReceiveInto { buffer: buf }
);

method!(
    RecvFrom,
    "sock_recvfrom",
    [sock, bufsize],
    "Receive a datagram of up to `bufsize` bytes, and the address that it came from.",
    |_py| What::ReceiveFrom { size: bufsize }
);

method!(
    RecvFromInto,
    "sock_recvfrom_into",
    [sock, buf],
    [nbytes],
    "Receive a datagram into a writable buffer; how many bytes, and the address that it came from.",
    |py| What::ReceiveFromInto {
        buffer: buf,
        size: match nbytes {
            Some(size) => size,
            None => make::int(py, 0)?.into_any().unbind(),
        },
    }
);

method!(
    Sendall,
    "sock_sendall",
    [sock, data],
    "Send all of `data`.",
    |_py| What::SendAll(SendAll::new(data))
);

method!(
    SendTo,
    "sock_sendto",
    [sock, data, address],
    "Send a datagram to `address`; how many bytes were sent.",
    |_py| What::SendTo { data, address }
);

method!(
    Accept,
    "sock_accept",
    [sock],
    "Accept a connection: its non-blocking socket, and the address of its peer.",
    |_py| What::Accept
);

method!(
    Writable,
    "_sock_writable",
    [sock],
    "Wait until the socket takes bytes, or is connected.",
    |_py| What::Wait(Side::Writer, std::cell::Cell::new(false))
);

fn missing(method: &str, argument: &str) -> PyErr {
    PyTypeError::new_err(format!(
        "{method}() missing 1 required positional argument: '{argument}'"
    ))
}
