//! `socket.getaddrinfo` on a thread without Python: its arguments, its results and its errors.

use std::ffi::CString;
use std::net::{IpAddr, SocketAddr};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyInt, PyString};

use super::resolver::{Answer, Resolver};
use crate::addr;
use crate::errors::os_error;
use crate::ffi::{call, make, name};
use crate::sys::names::{Entry, Failure, Hints, INTERNET_KINDS, Question};

/// Threads on which the C library looks names up.
#[pyclass(frozen, module = "yamanote._yamanote", name = "Resolver")]
#[derive(Debug)]
pub(super) struct PyResolver(Resolver);

#[pymethods]
impl PyResolver {
    #[new]
    fn new() -> Self {
        Self(Resolver::new())
    }

    /// Look `host` up for the running loop; `None` where only `socket.getaddrinfo` can.
    #[pyo3(signature = (host, port, family, kind, proto, flags, /))]
    fn look_up<'py>(
        &self,
        host: &Bound<'py, PyAny>,
        port: &Bound<'py, PyAny>,
        family: &Bound<'py, PyAny>,
        kind: &Bound<'py, PyAny>,
        proto: &Bound<'py, PyAny>,
        flags: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(question) = question(host, port, [family, kind, proto, flags]) else {
            return Ok(None);
        };
        audit(host, port, question.hints)?;
        let Some(look_up) = self.0.ask(question) else {
            return Ok(None);
        };
        let answer = async move { Ok(Found(look_up.await)) };
        yamanote_client::own_future_into_py(host.py(), answer).map(Some)
    }

    /// Tell the threads to end after their current calls, without waiting for them.
    fn close(&self) {
        self.0.close();
    }
}

/// The question, if the C library gets these arguments from `socket.getaddrinfo` as they are.
fn question(
    host: &Bound<'_, PyAny>,
    port: &Bound<'_, PyAny>,
    hints: [&Bound<'_, PyAny>; 4],
) -> Option<Question> {
    let host = host.cast_exact::<PyString>().ok()?.to_str().ok()?;
    if !is_name(host) {
        return None;
    }
    let port: u16 = port.cast_exact::<PyInt>().ok()?.extract().ok()?;
    let mut numbers = [0; 4];
    for (number, hint) in numbers.iter_mut().zip(hints) {
        *number = hint.cast::<PyInt>().ok()?.extract().ok()?;
    }
    let [family, kind, protocol, flags] = numbers;
    let hints = Hints {
        family,
        kind,
        protocol,
        flags,
    };
    hints.are_plain().then_some(Question {
        host: CString::new(host).ok()?,
        port: CString::new(port.to_string()).ok()?,
        hints,
    })
}

/// Whether this is a name that Python's codec `idna` leaves as it is, and no address.
fn is_name(host: &str) -> bool {
    let labels = host.strip_suffix('.').unwrap_or(host);
    let fits = |label: &str| (1..MOST_OF_A_LABEL).contains(&label.len());
    host.is_ascii()
        && !host.contains([':', '%', '\0'])
        && host.parse::<IpAddr>().is_err()
        && labels.split('.').all(fits)
}

/// Tells the program's audit hooks, as `socket.getaddrinfo` does.
fn audit(host: &Bound<'_, PyAny>, port: &Bound<'_, PyAny>, hints: Hints) -> PyResult<()> {
    static AUDIT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = host.py();
    let audit = make::imported(&AUDIT, py, "sys", "audit")?;
    let event = name!(py, "socket.getaddrinfo").as_any();
    let family = make::signed(py, hints.family)?;
    let kind = make::signed(py, hints.kind)?;
    let protocol = make::signed(py, hints.protocol)?;
    let hints = [family.as_any(), kind.as_any(), protocol.as_any()];
    let [family, kind, protocol] = hints;
    call::function(audit, [event, host, port, family, kind, protocol]).map(drop)
}

/// What a look-up found, which becomes a list, `None` where Python must be asked, or an exception.
struct Found(Answer);

impl<'py> IntoPyObject<'py> for Found {
    type Target = PyAny;
    type Output = Bound<'py, PyAny>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        static ERROR: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        match self.0 {
            Ok(entries) => to_python(py, &entries),
            Err(Failure::Unknown) => Ok(make::none(py)),
            Err(Failure::System(error)) => Err(os_error(error)),
            Err(Failure::Resolver(code, text)) => {
                let class = make::imported(&ERROR, py, "socket", "gaierror")?;
                let (code, text) = (make::signed(py, code)?, make::string(py, &text)?);
                let error = call::function(class, [code.as_any(), text.as_any()])?;
                Err(PyErr::from_value(error))
            }
        }
    }
}

/// The list that `socket.getaddrinfo` returns; `None` for a kind of socket that only Python can name.
fn to_python<'py>(py: Python<'py>, entries: &[Entry]) -> PyResult<Bound<'py, PyAny>> {
    let mut tuples = Vec::new();
    tuples
        .try_reserve_exact(entries.len())
        .map_err(make::no_memory)?;
    let no_name = make::string(py, "")?;
    for entry in entries {
        let Some(kind) = kind(py, entry.kind)? else {
            return Ok(make::none(py));
        };
        let family = family(py, &entry.address)?;
        let protocol = make::signed(py, entry.protocol)?;
        let address = addr::to_python(py, &entry.address)?;
        let parts = [
            family.as_borrowed(),
            kind.as_borrowed(),
            protocol.as_any().as_borrowed(),
            no_name.as_any().as_borrowed(),
            address.as_borrowed(),
        ];
        tuples.push(make::tuple(py, &parts)?);
    }
    let mut borrowed = Vec::new();
    borrowed
        .try_reserve_exact(tuples.len())
        .map_err(make::no_memory)?;
    borrowed.extend(tuples.iter().map(|tuple| tuple.as_any().as_borrowed()));
    make::list(py, &borrowed).map(Bound::into_any)
}

/// The member of `socket.AddressFamily`.
fn family<'py>(py: Python<'py>, address: &SocketAddr) -> PyResult<&'py Bound<'py, PyAny>> {
    static FOUR: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    static SIX: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    match address {
        SocketAddr::V4(_) => make::imported(&FOUR, py, "socket", "AF_INET"),
        SocketAddr::V6(_) => make::imported(&SIX, py, "socket", "AF_INET6"),
    }
}

/// The member of `socket.SocketKind`, of the three that every system has.
fn kind(py: Python<'_>, number: i32) -> PyResult<Option<&Bound<'_, PyAny>>> {
    static KINDS: [PyOnceLock<Py<PyAny>>; 3] = [const { PyOnceLock::new() }; 3];
    let names = ["SOCK_STREAM", "SOCK_DGRAM", "SOCK_RAW"];
    let Some(index) = INTERNET_KINDS.iter().position(|kind| *kind == number) else {
        return Ok(None);
    };
    make::imported(&KINDS[index], py, "socket", names[index]).map(Some)
}

/// The codec refuses labels of so many characters or more.
const MOST_OF_A_LABEL: usize = 64;
