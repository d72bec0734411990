//! A program that links Python, the loop and its own futures: they share the loop's tokio runtime.

use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use tokio::io::AsyncReadExt;

/// Uses tokio's timer and socket on the loop's own reactor.
#[pyfunction]
fn fetch(py: Python<'_>, port: u16) -> PyResult<Bound<'_, PyAny>> {
    let here = std::thread::current().id();
    yamanote::future_into_py(py, async move {
        tokio::time::sleep(Duration::from_millis(2)).await;
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        assert_eq!(
            std::thread::current().id(),
            here,
            "polled on the loop's thread"
        );
        Ok(text)
    })
}

const PROGRAM: &std::ffi::CStr = c"
import asyncio, sys, threading
sys.path.insert(0, 'python')
sys.modules['yamanote._yamanote'] = native
import yamanote

async def main():
    texts = await asyncio.gather(*(fetch(port) for _ in range(5)))
    return texts, threading.active_count()

texts, threads = yamanote.run(main())
";

#[test]
fn futures_share_the_loops_reactor() -> PyResult<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let server = std::thread::spawn(move || {
        for stream in listener.incoming().take(5).flatten() {
            let mut stream = stream;
            stream
                .write_all(b"from a socket")
                .expect("the client reads");
        }
    });
    Python::initialize();
    Python::attach(|py| {
        let globals = PyDict::new(py);
        globals.set_item("port", port)?;
        globals.set_item("fetch", wrap_pyfunction!(fetch, py)?)?;
        globals.set_item("native", pyo3::wrap_pymodule!(yamanote::_yamanote)(py))?;
        py.run(PROGRAM, Some(&globals), None)?;
        let texts: Vec<String> = globals.get_item("texts")?.expect("it ran").extract()?;
        assert_eq!(texts, vec!["from a socket"; 5]);
        PyResult::Ok(())
    })?;
    server.join().expect("it served five");
    Ok(())
}
