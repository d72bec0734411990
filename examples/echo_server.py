"""A TCP server and its client with asyncio's streams.

Only the last line depends on the event loop.
"""

import asyncio

import yamanote


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends every line back in upper case until the client closes its side."""
    async for line in reader:
        writer.write(line.upper())
        # Waits while the client reads too slowly; without it, the write buffer would grow.
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def ask(port: int, lines: list[str]) -> list[str]:
    """Sends `lines` and returns the replies."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.writelines(f"{line}\n".encode() for line in lines)
    writer.write_eof()
    answers = (await reader.read()).decode().splitlines()
    writer.close()
    await writer.wait_closed()
    return answers


async def main() -> None:
    """Serves two clients at once."""
    # Port 0: the system picks a free port.
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        for answers in await asyncio.gather(
            ask(port, ["one", "two"]),
            ask(port, ["three"]),
        ):
            print(answers)


if __name__ == "__main__":
    yamanote.run(main())
