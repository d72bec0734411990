//! `yamanote_testing`: an ordinary extension module, with futures for tests and benchmarks.

mod bridge;
mod futures;

use pyo3::prelude::*;

#[pymodule(gil_used = false)]
mod yamanote_testing {
    #[pymodule_export]
    use super::bridge::{
        bridged_await_python, bridged_failing, bridged_nested, bridged_never, bridged_ready,
        bridged_run, bridged_sleep, bridged_socket, bridged_stop, bridged_yielding,
    };
    #[pymodule_export]
    use super::futures::{
        Gate, await_in_worker, await_python, call, call_home, dropped, failing, live_futures,
        local, local_never, nested, never, panicking, ready, sleep, socket, spawned, spawned_gate,
        spawned_never, spawned_panicking, yielding,
    };

    use std::time::Duration;

    use pyo3::prelude::*;

    /// Shortens the lifetime of idle threads for bridged futures, because other tests count threads.
    #[pymodule_init]
    #[expect(clippy::unnecessary_wraps, reason = "PyO3 wants a result")]
    fn init(_module: &Bound<'_, PyModule>) -> PyResult<()> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder
            .enable_all()
            .thread_keep_alive(Duration::from_millis(100));
        pyo3_async_runtimes::tokio::init(builder);
        Ok(())
    }
}

/// Sends a byte to `port` on this machine, and receives its echo.
async fn round_trip(port: u16) -> PyResult<u8> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(&[7]).await?;
    Ok(stream.read_u8().await?)
}
