"""`Loop.metrics()`: each number is exact, and any thread may read them."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import json
import os
import re
import socket
import sys
import sysconfig
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import yamanote
from tests.forks import in_child
from tests.turns import run_one_turn

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "127.0.0.1"
DOCS = Path(__file__).parent.parent / "docs" / "looking.md"
HAS_GIL = not sysconfig.get_config_var("Py_GIL_DISABLED")


def noop() -> None:
    """Does nothing."""


@pytest.fixture
def loop() -> Iterator[yamanote.Loop]:
    """A stopped loop."""
    instance = yamanote.new_event_loop()
    yield instance
    instance.close()


def test_a_new_loop_has_done_nothing(loop: yamanote.Loop) -> None:
    metrics = loop.metrics()
    numbers = metrics.as_dict()
    del numbers["turn_durations"], numbers["timer_lateness"]
    assert set(numbers.values()) == {0}
    assert metrics.turn_durations.count == metrics.timer_lateness.count == 0
    assert metrics.utilization == 0.0


def test_callbacks_and_turns_are_counted(loop: yamanote.Loop) -> None:
    for _ in range(5):
        loop.call_soon(noop)
    loop.call_soon(noop).cancel()
    run_one_turn(loop)
    metrics = loop.metrics()
    # asyncio runs a cancelled handle, too: it does nothing.
    assert metrics.callbacks == 6
    assert metrics.turns == metrics.turn_durations.count == 1


def test_a_turn_is_as_long_as_its_callbacks_together(loop: yamanote.Loop) -> None:
    for _ in range(10):
        loop.call_soon(time.sleep, 0.002)
    run_one_turn(loop)
    metrics = loop.metrics()
    assert metrics.busy >= metrics.turn_durations.sum >= 0.02
    assert metrics.turn_durations.quantile(1.0) > 0.02
    assert metrics.utilization > 0.5


def test_timers_are_counted_when_they_fire_and_when_they_are_cancelled(loop: yamanote.Loop) -> None:
    def cancel_some() -> None:
        before = loop.metrics().timers
        for handle in timers:
            handle.cancel()
            handle.cancel()
        gone.append(before - loop.metrics().timers)

    timers = [loop.call_later(60, noop) for _ in range(3)]
    gone: list[int] = []
    assert loop.metrics().timers == 3
    loop.call_later(0.001, cancel_some)
    for _ in range(4):
        loop.call_later(0.001, noop)
    loop.call_later(0.002, loop.stop)
    loop.run_forever()
    metrics = loop.metrics()
    assert gone == [3]
    assert (metrics.timers_fired, metrics.timers_cancelled, metrics.timers) == (6, 3, 0)
    assert metrics.timer_lateness.count == 6
    assert metrics.timer_lateness.sum > 0


def test_what_a_thread_cancels_is_counted_once_although_swept(loop: yamanote.Loop) -> None:
    timers = [loop.call_later(3600, noop) for _ in range(120)]

    def cancel(some: list[asyncio.TimerHandle]) -> None:
        for timer in some:
            timer.cancel()

    async def main() -> int:
        thread = threading.Thread(target=cancel, args=(timers[:50],))
        thread.start()
        thread.join()
        # More than half: the last one of these sweeps, and takes the thread's with them.
        cancel(timers[50:111])
        await asyncio.sleep(0)
        return loop.metrics().timers

    assert loop.run_until_complete(main()) == 9


def test_lateness_is_how_long_a_timer_was_due(loop: yamanote.Loop) -> None:
    loop.call_later(0.001, noop)
    loop.call_soon(time.sleep, 0.02)
    loop.call_later(0.002, loop.stop)
    loop.run_forever()
    assert loop.metrics().timer_lateness.sum > 0.03


def test_bytes_and_connections_of_streams_are_counted(loop: yamanote.Loop) -> None:
    size = 10_000

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(size))
        writer.close()

    async def main() -> yamanote.LoopMetrics:
        server = await asyncio.start_server(serve, HOST, 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(bytes(size))
        open_ones = loop.metrics()
        assert len(await reader.read()) == size
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        return open_ones

    during = loop.run_until_complete(main())
    metrics = loop.metrics()
    assert during.transports >= 1
    assert during.fds >= 2
    assert metrics.bytes_in == metrics.bytes_out == 2 * size
    assert (metrics.accepts, metrics.connections_lost, metrics.transports) == (1, 2, 0)
    assert metrics.io_events >= 4
    assert metrics.fds == metrics.buffered_bytes == 0


def test_bytes_of_datagrams_and_pipes_are_counted(loop: yamanote.Loop) -> None:
    class Receiver(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            received.append(data)
            if len(received) == 3:
                arrived.set()

    class Reader(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            piped.set()

    received: list[bytes] = []
    arrived, piped = asyncio.Event(), asyncio.Event()

    async def main() -> None:
        ours, _ = await loop.create_datagram_endpoint(Receiver, local_addr=(HOST, 0))
        address = ours.get_extra_info("sockname")
        theirs, _ = await loop.create_datagram_endpoint(Receiver, local_addr=(HOST, 0))
        for size in (1, 20, 300):
            theirs.sendto(bytes(size), address)
        await arrived.wait()
        read_fd, write_fd = os.pipe()
        reader, _ = await loop.connect_read_pipe(Reader, os.fdopen(read_fd, "rb"))
        writer, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(write_fd, "wb"))
        writer.write(bytes(4000))
        await piped.wait()
        for transport in (ours, theirs, reader, writer):
            transport.close()

    loop.run_until_complete(main())
    assert loop.metrics().bytes_in == loop.metrics().bytes_out == 4321
    for _ in range(3):
        run_one_turn(loop)
    assert loop.metrics().transports == 0
    assert loop.metrics().connections_lost == 4


def test_bytes_of_sock_methods_are_counted(loop: yamanote.Loop) -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.setblocking(False)
            await loop.sock_sendall(ours, bytes(1000))
            assert len(await loop.sock_recv(theirs, 600)) == 600
            assert await loop.sock_recv_into(theirs, bytearray(600)) == 400
            await loop.sock_sendall(ours, b"x")
            assert len((await loop.sock_recvfrom(theirs, 10))[0]) == 1

    loop.run_until_complete(main())
    assert (loop.metrics().bytes_in, loop.metrics().bytes_out) == (1001, 1001)


def test_bytes_of_sendfile_are_counted(loop: yamanote.Loop, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(3000))

    async def main() -> None:
        ours, theirs = socket.socketpair()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        with theirs, path.open("rb") as file:
            await loop.sendfile(transport, file)
            transport.write(b"x")
            transport.close()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with ours, theirs, path.open("rb") as file:
            await loop.sock_sendfile(ours, file)

    loop.run_until_complete(main())
    assert loop.metrics().bytes_out == 6001


def test_only_descriptors_that_something_waits_for_are_counted(loop: yamanote.Loop) -> None:
    async def main() -> None:
        pairs = [socket.socketpair() for _ in range(10)]
        for ours, _ in pairs:
            ours.setblocking(False)
        waiting = [asyncio.ensure_future(loop.sock_recv(ours, 1)) for ours, _ in pairs]
        await asyncio.sleep(0)
        counts.append(loop.metrics().fds)
        loop.add_writer(pairs[0][0], noop)
        counts.append(loop.metrics().fds)
        for _, theirs in pairs:
            theirs.send(b"x")
        await asyncio.gather(*waiting)
        counts.append(loop.metrics().fds)
        loop.remove_writer(pairs[0][0])
        counts.append(loop.metrics().fds)
        for pair in pairs:
            for sock in pair:
                sock.close()

    counts: list[int] = []
    loop.run_until_complete(main())
    assert counts == [10, 10, 1, 0]
    assert loop.metrics().fds == 0


def test_unsent_bytes_are_counted_while_they_wait(loop: yamanote.Loop) -> None:
    size = 8 << 20

    async def main() -> None:
        ours, theirs = socket.socketpair()
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
        with theirs:
            transport.write(bytes(size))
            metrics = loop.metrics()
            assert metrics.buffered_bytes == transport.get_write_buffer_size() > 0
            assert metrics.buffered_bytes + metrics.bytes_out == size
            transport.write(bytes(1000))
            assert loop.metrics().buffered_bytes == transport.get_write_buffer_size()
            while loop.metrics().bytes_out == metrics.bytes_out:
                assert len(theirs.recv(100_000)) > 0
                await asyncio.sleep(0)
            assert loop.metrics().buffered_bytes == transport.get_write_buffer_size()
            transport.abort()
            await asyncio.sleep(0)
            assert loop.metrics().buffered_bytes == 0

    loop.run_until_complete(main())


def test_a_wait_is_idle_time_and_its_end_by_a_thread_is_counted(loop: yamanote.Loop) -> None:
    def wake() -> None:
        # Idle time passes only while the loop waits.
        start = loop.metrics()
        while loop.metrics().idle < start.idle + 0.01:
            pass
        seen.append(loop.metrics() - start)
        loop.call_soon_threadsafe(called.set)

    seen: list[yamanote.LoopMetrics] = []
    called = asyncio.Event()
    thread = threading.Thread(target=wake)
    loop.call_soon(thread.start)
    loop.run_until_complete(called.wait())
    thread.join()
    metrics = loop.metrics()
    assert metrics.threadsafe_wakeups == 1
    assert metrics.idle >= 0.01
    assert seen[0].idle >= 0.01


@pytest.mark.skipif(not HAS_GIL, reason="no thread holds a GIL")
def test_waiting_for_the_gil_is_told_apart(loop: yamanote.Loop) -> None:
    def hog() -> None:
        while not over:
            pass

    async def main() -> None:
        thread.start()
        for _ in range(10_000):
            await asyncio.sleep(0.0001)
            if loop.metrics().gil_wait > 2 * sys.getswitchinterval():
                break
        over.append(True)

    over: list[bool] = []
    thread = threading.Thread(target=hog)
    loop.run_until_complete(main())
    assert loop.metrics().gil_wait > 2 * sys.getswitchinterval()
    thread.join()


def test_times_only_grow_and_add_up_for_every_thread(loop: yamanote.Loop) -> None:
    def watch() -> None:
        before_at, before = time.monotonic(), loop.metrics()
        while not over:
            at = time.monotonic()
            now = loop.metrics()
            later = time.monotonic()
            for spent in (now - before).busy, (now - before).idle, (now - before).gil_wait:
                assert spent >= 0
            passed = (now - before).busy + (now - before).idle + (now - before).gil_wait
            assert passed <= later - before_at + 1e-6
            before, before_at = now, at
        complete.append(True)

    async def main() -> None:
        for _ in range(500):
            await asyncio.sleep(0.00001)
        over.append(True)

    over: list[bool] = []
    complete: list[bool] = []
    threads = [threading.Thread(target=watch) for _ in range(2)]
    for thread in threads:
        thread.start()
    loop.run_until_complete(main())
    for thread in threads:
        thread.join()
    assert complete == [True, True]


def test_time_between_runs_is_no_time_of_the_loop(loop: yamanote.Loop) -> None:
    run_one_turn(loop)
    before = loop.metrics()
    time.sleep(0.01)
    assert loop.metrics() == before


def test_metrics_survive_close() -> None:
    loop = yamanote.new_event_loop()
    loop.call_soon(noop)
    run_one_turn(loop)
    loop.close()
    assert loop.metrics().callbacks == 1


def test_a_forked_child_can_read_them(loop: yamanote.Loop) -> None:
    loop.call_soon(noop)
    run_one_turn(loop)
    assert in_child(lambda: loop.metrics().callbacks) == "1"


def test_a_difference_has_the_later_gauges(loop: yamanote.Loop) -> None:
    loop.call_later(60, noop)
    before = loop.metrics()
    loop.call_later(60, noop)
    loop.call_soon(noop)
    run_one_turn(loop)
    last = loop.metrics() - before
    assert (last.timers, last.callbacks, last.turns) == (2, 1, 1)
    with pytest.raises(TypeError):
        _ = last - 1  # type: ignore[operator]
    with pytest.raises(TypeError):
        _ = last.turn_durations - 1  # type: ignore[operator]


def test_a_snapshot_cannot_be_changed(loop: yamanote.Loop) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        loop.metrics().busy = 1.0  # type: ignore[misc]


def test_a_snapshot_can_be_serialized(loop: yamanote.Loop) -> None:
    run_one_turn(loop)
    numbers = loop.metrics().as_dict()
    assert json.loads(json.dumps(numbers)) == numbers


def test_quantiles_are_upper_bounds_of_buckets() -> None:
    histogram = yamanote.Histogram((1.0, 2.0, float("inf")), (6, 3, 1), 12.0)
    assert [histogram.quantile(q) for q in (0, 0.6, 0.61, 0.9, 0.95, 1)] == [
        1.0, 1.0, 2.0, 2.0, float("inf"), float("inf"),
    ]  # fmt: skip
    assert yamanote.Histogram((1.0,), (0,), 0.0).quantile(0.5) == 0.0
    for q in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="a quantile is between 0 and 1"):
            histogram.quantile(q)


def recipe(section: str) -> dict[str, Any]:
    """Runs the code below a heading of the page on looking, and returns its names."""
    text = DOCS.read_text().split(f"### {section}\n")[1]
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(compile(code[1], DOCS, "exec"), names)
    return names


def test_the_recipe_for_prometheus(loop: yamanote.Loop) -> None:
    prometheus = importlib.import_module("prometheus_client")
    loop.call_soon(noop)
    run_one_turn(loop)
    registry = prometheus.CollectorRegistry()
    registry.register(recipe("Prometheus")["LoopCollector"](loop))
    text = prometheus.generate_latest(registry).decode()
    assert "asyncio_loop_callbacks_total 1.0\n" in text
    assert "# TYPE asyncio_loop_timers gauge\n" in text
    assert 'asyncio_loop_turn_durations_bucket{le="+Inf"} 1.0\n' in text
    assert "asyncio_loop_turn_durations_count 1.0\n" in text


def test_the_recipe_for_opentelemetry(loop: yamanote.Loop) -> None:
    sdk = importlib.import_module("opentelemetry.sdk.metrics")
    export = importlib.import_module("opentelemetry.sdk.metrics.export")
    loop.call_soon(noop)
    run_one_turn(loop)
    reader = export.InMemoryMetricReader()
    provider = sdk.MeterProvider([reader])
    recipe("OpenTelemetry")["observe_loop"](provider.get_meter("test"), loop)
    data = reader.get_metrics_data()
    found = {
        metric.name: metric.data.data_points[0].value
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
    }
    provider.shutdown()
    assert found["asyncio.loop.callbacks"] == 1
    assert found["asyncio.loop.ready"] == 0
    assert len(found) == len(loop.metrics().as_dict()) - 2
