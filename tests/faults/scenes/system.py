"""Children, pipes, signals, files, names, and the calls on a program's own sockets."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import subprocess
from typing import TYPE_CHECKING, Any

from tests.faults.scenes.parts import Whole
from tests.faults.stage import SENT

if TYPE_CHECKING:
    from tests.faults.stage import Stage

# The shim cannot wrap vfork(), which returns twice.
setattr(subprocess, "_USE_VFORK", False)  # noqa: B010 - it is declared final.

FEW = SENT[:20_000]


async def child(stage: Stage) -> None:
    """A child sends back what it is sent."""
    cat = await asyncio.create_subprocess_exec(
        "/bin/cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    transport: Any = vars(cat)["_transport"]
    stage.opened(transport)
    try:
        output, _ = await cat.communicate(FEW)
        # communicate() ends without an error when a pipe breaks, as asyncio documents it.
        stage.check(output, FEW, whole=False)
    finally:
        transport.close()
        await cat.wait()


async def pipes(stage: Stage) -> None:
    """The two ends of a pipe."""
    with stage.paused():
        reading, writing = os.pipe()
        source, sink = os.fdopen(reading, "rb", 0), os.fdopen(writing, "wb", 0)
    try:
        reader, client = await stage.loop.connect_read_pipe(lambda: Whole(stage, b""), source)
        try:
            writer, _ = await stage.loop.connect_write_pipe(asyncio.Protocol, sink)
            stage.opened(writer)
            try:
                writer.write(SENT)
                await client.over
            finally:
                writer.close()
        finally:
            reader.close()
            await asyncio.sleep(0)
    finally:
        source.close()
        sink.close()


async def signals(stage: Stage) -> None:
    """A signal's handler."""
    seen = stage.loop.create_future()

    def handle() -> None:
        stage.step()
        if not seen.done():
            seen.set_result(None)

    stage.loop.add_signal_handler(signal.SIGUSR1, handle)
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        await seen
    finally:
        stage.loop.remove_signal_handler(signal.SIGUSR1)


async def sockets(stage: Stage) -> None:
    """The calls named `sock_*`."""
    loop = stage.loop
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        listener.setblocking(False)
        client.setblocking(False)
        accepting = loop.create_task(loop.sock_accept(listener))
        try:
            await loop.sock_connect(client, listener.getsockname())
            server, _ = await accepting
        except BaseException:
            accepting.cancel()
            await asyncio.wait([accepting])
            if not accepting.cancelled() and accepting.exception() is None:
                accepting.result()[0].close()
            raise
        with server:

            async def receive() -> None:
                received = bytearray()
                buffer = bytearray(5000)
                while len(received) < len(FEW):
                    count = await loop.sock_recv_into(server, buffer)
                    if not count:
                        raise ConnectionError("closed early")
                    received += memoryview(buffer)[:count]
                    stage.check(received, FEW, whole=False)

            both = [
                loop.create_task(loop.sock_sendall(client, FEW)),
                loop.create_task(receive()),
            ]
            try:
                await asyncio.gather(*both)
            finally:
                for one in both:
                    one.cancel()
                await asyncio.wait(both)


async def watches(stage: Stage) -> None:
    """`add_reader()` and `add_writer()`."""
    loop = stage.loop
    with stage.paused():
        here, there = socket.socketpair()
    with here, there:
        written, read = loop.create_future(), loop.create_future()

        def write() -> None:
            stage.step()
            try:
                there.send(b"x")
            except OSError as error:
                if not written.done():
                    written.set_exception(error)
            else:
                loop.remove_writer(there)
                if not written.done():
                    written.set_result(None)

        def receive() -> None:
            stage.step()
            try:
                received = here.recv(10)
            except OSError as error:
                if not read.done():
                    read.set_exception(error)
            else:
                if not read.done():
                    read.set_result(received)

        try:
            loop.add_reader(here, receive)
            loop.add_writer(there, write)
            await written
            stage.check(await read, b"x")
        finally:
            loop.remove_reader(here)
            loop.remove_writer(there)


async def names(stage: Stage) -> None:
    """Names are looked up, with and without a thread."""
    loop = stage.loop
    await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
    await loop.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
    await loop.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)


_plays = itertools.count()


async def files(stage: Stage) -> None:
    """`yamanote.fs`."""
    from yamanote import fs

    # A thread may still open the file of a play that is over.
    path = stage.files / f"file-{os.getpid()}-{next(_plays)}"
    try:
        async with await fs.open(path, "wb") as file:
            await file.write(FEW)
        async with await fs.open(path, "rb") as file:
            stage.check(await file.read(), FEW)
    finally:
        path.unlink(missing_ok=True)
