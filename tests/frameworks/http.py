"""A plain HTTP/1.1 client over a blocking socket, which sends exactly what a test passes."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Self

#: Seconds to wait for a server. Generous, because the machine may be busy.
PATIENCE_S = 30.0


@dataclass(frozen=True)
class Response:
    """A response; `chunks` are the parts of a chunked body as they were sent."""

    status: int
    headers: dict[str, str]
    chunks: tuple[bytes, ...]

    @property
    def body(self) -> bytes:
        """The complete body."""
        return b"".join(self.chunks)


class Client:
    """One connection.

    Args:
        port: the server's port on the loopback address.
    """

    def __init__(self, port: int) -> None:
        """Connects."""
        self.sock = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self._input: IO[bytes] = self.sock.makefile("rb")

    def __enter__(self) -> Self:
        """Returns the open client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes."""
        self.close()

    def close(self) -> None:
        """Ends the connection."""
        self._input.close()
        self.sock.close()

    def send(self, method: str, path: str, body: bytes = b"") -> None:
        """Sends a request with a Content-Length."""
        self.head(method, path, f"Content-Length: {len(body)}")
        self.sock.sendall(body)

    def send_chunks(self, method: str, path: str, chunks: Iterable[bytes]) -> None:
        """Sends a chunked request."""
        self.head(method, path, "Transfer-Encoding: chunked")
        for chunk in chunks:
            self.send_chunk(chunk)
        self.send_chunk(b"")

    def head(self, method: str, path: str, *headers: str) -> None:
        """Sends the head of a request."""
        lines = (f"{method} {path} HTTP/1.1", "Host: localhost", *headers, "", "")
        self.sock.sendall("\r\n".join(lines).encode())

    def send_chunk(self, chunk: bytes) -> None:
        """Sends one chunk of a request; an empty one is the last."""
        self.sock.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))

    def receive(self) -> Response:
        """Reads one response."""
        status, headers = self.receive_head()
        if headers.get("transfer-encoding") == "chunked":
            return Response(status, headers, tuple(self.receive_chunks()))
        length = int(headers.get("content-length", "0"))
        return Response(status, headers, (self._exactly(length),))

    def receive_head(self) -> tuple[int, dict[str, str]]:
        """Reads the status and the headers of a response."""
        status = int(self._line().split(" ")[1])
        headers: dict[str, str] = {}
        while line := self._line():
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        return status, headers

    def receive_chunks(self) -> Iterator[bytes]:
        """Reads a chunked body as it arrives."""
        while size := int(self._line(), 16):
            yield self._exactly(size)
            assert self._line() == ""
        assert self._line() == ""

    def get(self, path: str) -> Response:
        """Sends a GET request and returns the response."""
        self.send("GET", path)
        return self.receive()

    def _line(self) -> str:
        line = self._input.readline()
        assert line.endswith(b"\r\n"), f"the connection ended in {line!r}"
        return line[:-2].decode()

    def _exactly(self, count: int) -> bytes:
        data = self._input.read(count)
        assert len(data) == count, "the connection ended in a body"
        return data
