//! The names that this crate looks up in Python, interned once at import.
//!
//! PyO3's `intern!` creates its string at the first use, and panics when memory runs out: in the middle of a turn,
//! and often while another error is reported. The names here are created at import, so using one cannot fail.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyString;

use super::reference::owned;

/// The interned string of the given text, which must be in [`TEXTS`]: `name!(py, "data_received")`.
macro_rules! name {
    ($py:expr, $text:literal) => {{
        const INDEX: usize = $crate::ffi::names::index($text);
        $crate::ffi::names::get::<INDEX>($py)
    }};
}

pub(crate) use name;

/// Every name; the index identifies it.
const TEXTS: [&str; 153] = [
    "%r: %s",
    "B",
    "__class__",
    "__context__",
    "__module__",
    "__new__",
    "__qualname__",
    "__self__",
    "_accept",
    "_accept_later",
    "_advance",
    "_arrange",
    "_asyncio_future_blocking",
    "_attach",
    "_buffer",
    "_check_callback",
    "_check_handshake_timeout",
    "_check_shutdown_timeout",
    "_clients",
    "_closed",
    "_connection_lost",
    "_context",
    "_current_handle",
    "_detach",
    "_drain_helper",
    "_ensure_fd_no_transport",
    "_eof",
    "_exception",
    "_faults",
    "_give_way",
    "_io_refs",
    "_limit",
    "_look",
    "_look_soon",
    "_loop",
    "_make_handle",
    "_msg_callback",
    "_paused",
    "_protocol",
    "_reader",
    "_report_callback_error",
    "_report_slow_callback",
    "_run_on_in_child",
    "_sendto_ready",
    "_sockets",
    "_sslobj",
    "_stream_reader_wr",
    "_task_factory",
    "_trace_thread",
    "_traced",
    "_transfer",
    "_transport",
    "_wait_for_data",
    "_waiter",
    "_watch_pressure",
    "_wrap_bio",
    "_yamanote_origin",
    "accept",
    "add_done_callback",
    "buffer_updated",
    "call_exception_handler",
    "call_later",
    "call_soon",
    "cancel",
    "cancelled",
    "cast",
    "cipher",
    "close",
    "co_filename",
    "co_name",
    "compression",
    "connection_lost",
    "connection_made",
    "context",
    "create_future",
    "create_task",
    "data_received",
    "datagram_received",
    "debug",
    "do_handshake",
    "done",
    "eof_received",
    "error_received",
    "exc_info",
    "exception",
    "f_code",
    "f_locals",
    "family",
    "feed_data",
    "fileno",
    "from_list",
    "func",
    "future",
    "get_buffer",
    "get_coro",
    "get_debug",
    "get_extra_info",
    "get_name",
    "get_protocol",
    "getpeercert",
    "getpeername",
    "getsockname",
    "gettimeout",
    "handle",
    "is_closing",
    "join",
    "loop",
    "message",
    "msg",
    "name",
    "pause_reading",
    "pause_writing",
    "peercert",
    "peername",
    "pending",
    "pipe",
    "proto",
    "protocol",
    "read",
    "recv",
    "recv_into",
    "recvfrom",
    "recvfrom_into",
    "result",
    "resume_reading",
    "resume_writing",
    "run",
    "run_forever",
    "self",
    "send",
    "sendto",
    "set_exception",
    "set_result",
    "setblocking",
    "shutdown",
    "socket",
    "socket.connect",
    "socket.getaddrinfo",
    "sockname",
    "source",
    "ssl",
    "ssl_object",
    "sslobject_class",
    "throw",
    "time",
    "transport",
    "type",
    "value",
    "warn_on_full_buffer",
    "warning",
    "with_traceback",
    "wrap_bio",
    "write",
];

static NAMES: PyOnceLock<[Py<PyString>; TEXTS.len()]> = PyOnceLock::new();

/// Creates all names; does nothing when called again.
pub(crate) fn make(py: Python<'_>) -> PyResult<()> {
    NAMES
        .get_or_try_init(py, || {
            let names = TEXTS.iter().map(|text| interned(py, text));
            let names = names.collect::<PyResult<Vec<_>>>()?;
            Ok(names.try_into().expect("as many names as texts"))
        })
        .map(drop)
}

/// The index of the text in the table. A text that is not in the table fails the compilation.
pub(crate) const fn index(text: &str) -> usize {
    let mut index = 0;
    while !is_same(TEXTS[index].as_bytes(), text.as_bytes()) {
        index += 1;
        assert!(index < TEXTS.len(), "add the name to TEXTS in ffi/names.rs");
    }
    index
}

/// The name at this index.
#[inline]
pub(crate) fn get<const INDEX: usize>(py: Python<'_>) -> &Bound<'_, PyString> {
    let names = NAMES.get(py);
    names.expect("the module made them when it was imported")[INDEX].bind(py)
}

pub(super) const fn is_same(one: &[u8], other: &[u8]) -> bool {
    let mut index = 0;
    while index < one.len() && index < other.len() && one[index] == other[index] {
        index += 1;
    }
    index == one.len() && index == other.len()
}

fn interned(py: Python<'_>, text: &str) -> PyResult<Py<PyString>> {
    let mut raw = PyString::from_bytes(py, text.as_bytes())?.into_ptr();
    // SAFETY: attached; `raw` is an owned reference to a string. The call replaces it by one to an equal interned
    // string, or keeps it when memory runs out.
    unsafe { ffi::PyUnicode_InternInPlace(&raw mut raw) };
    // SAFETY: an owned reference to a string.
    Ok(unsafe { owned(py, raw) }.unbind())
}
