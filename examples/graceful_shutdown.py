"""A graceful shutdown on SIGTERM and Ctrl-C: accept no new clients, finish the current ones."""

import asyncio
import contextlib
import signal

import yamanote


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers one line, slowly."""
    line = await reader.readline()
    writer.write(b"one moment\n")
    await asyncio.sleep(0.2)
    writer.write(b"you said " + line)
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def main() -> None:
    """Serves until a signal arrives."""
    clients: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(answer(reader, writer))
        clients.add(task)
        task.add_done_callback(clients.discard)
        await task

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print("serving on port", server.sockets[0].getsockname()[1], flush=True)
    await stop.wait()

    print("finishing", len(clients), "client(s)", flush=True)
    server.close()
    await asyncio.gather(*clients)
    await server.wait_closed()
    print("bye", flush=True)


if __name__ == "__main__":
    yamanote.run(main())
