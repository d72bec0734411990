"""The cost of a server: CPU time per message and per connection, memory per idle connection.

The server and the native load client run in separate processes. The server's CPU time is read
before and after the measured window, while all connections are idle.
"""

from __future__ import annotations

import json
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

import certificates
from process import Process, ProcessError
from server import HTTP_BODY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from tools import Tools

#: The name of the pure-Rust echo server, which takes part as the limit.
LIMIT = "tokio"

SERVER = Path(__file__).with_name("server.py")
MODES = ("protocol", "buffered", "streams", "sock")

#: A `Protocol` over TLS; not for the pure-Rust server, which has no TLS.
TLS = "tls"
TLS_ECHO = ((1, 10), (1, 100), (64, 10))
SIZES_KIB = (1, 16, 64, 256)

#: For messages of 1 MiB, which no loop reads at once.
LARGE_MODES = ("protocol", "streams")
CONNECTIONS = (1, 10, 100, 1000)

#: For small messages; each connection has one in flight.
MANY_MODES = ("protocol", "streams")
MANY_CONNECTIONS = 10_000

#: More would overflow the server's receive buffer, and a lost datagram ends a sample.
DATAGRAM_CLIENTS = (1, 10, 50)

#: Connections that open and close concurrently; enough to keep both sides busy.
CONNECTING = 10
IDLE = 10_000
IDLE_TLS = 1000

#: Seconds to open all connections, one after the other, on a busy machine.
OPENING_S = 240.0

Sample = dict[str, float]


@dataclass(frozen=True)
class Echo:
    """Round trips of messages of one size over a number of connections."""

    mode: str
    size_kib: int
    connections: int

    @property
    def name(self) -> str:
        """The name of the row."""
        size = f"{self.size_kib}KiB" if self.size_kib < 1024 else f"{self.size_kib // 1024}MiB"
        return f"echo/{self.mode}/{size}/{self.connections}"

    def measure(self, tools: Tools, loop: str, seconds: float) -> Sample:
        """Take one sample."""
        allow_descriptors(self.connections + 100)
        arguments = [f"--size={self.size_kib * 1024}", f"--connections={self.connections}"]
        with server(tools, loop, self.mode) as process:
            way = "udp" if self.mode == "udp" else "echo"
            return drive(tools, process, way, arguments, seconds)


@dataclass(frozen=True)
class SendFile:
    """A response of 1 MiB from a file for each request."""

    connections: int
    mode: str = "sendfile"

    @property
    def name(self) -> str:
        """The name of the row."""
        return f"{self.mode}/1MiB/{self.connections}"

    def measure(self, tools: Tools, loop: str, seconds: float) -> Sample:
        """Take one sample."""
        arguments = [f"--connections={self.connections}", f"--expect-body={1024 * 1024}"]
        with server(tools, loop, self.mode) as process:
            return drive(tools, process, "http", arguments, seconds)


@dataclass(frozen=True)
class Http:
    """A small response for each request, its head and its body written apart."""

    connections: int
    mode: str = "http"

    @property
    def name(self) -> str:
        """The name of the row."""
        return f"{self.mode}/minimal/{self.connections}"

    def measure(self, tools: Tools, loop: str, seconds: float) -> Sample:
        """Take one sample."""
        arguments = [f"--connections={self.connections}", f"--expect-body={len(HTTP_BODY)}"]
        with server(tools, loop, self.mode) as process:
            return drive(tools, process, "http", arguments, seconds)


@dataclass(frozen=True)
class Connect:
    """Connections that are opened, used for one byte, and closed by both sides."""

    mode: str

    @property
    def name(self) -> str:
        """The name of the row."""
        return f"connect/{self.mode}"

    def measure(self, tools: Tools, loop: str, seconds: float) -> Sample:
        """Take one sample."""
        with server(tools, loop, self.mode) as process:
            return drive(tools, process, "connect", [f"--connections={CONNECTING}"], seconds)


@dataclass(frozen=True)
class Idle:
    """Memory per idle connection."""

    mode: str
    connections: int

    @property
    def name(self) -> str:
        """The name of the row."""
        return f"idle/{self.mode}/{self.connections}"

    def measure(self, tools: Tools, loop: str, seconds: float) -> Sample:
        """Take one sample; the time is spent on opening the connections."""
        del seconds
        allow_descriptors(self.connections + 100)
        with server(tools, loop, self.mode) as process:
            with idle(tools, process, 1):  # First, one-time allocations are made.
                pass
            before = process.rss_bytes()
            with idle(tools, process, self.connections):
                after = process.rss_bytes()
        return {"memory_kib": (after - before) / 1024 / self.connections}


Workload: TypeAlias = "Echo | SendFile | Http | Connect | Idle"


def workloads() -> Iterator[Workload]:
    """Return all rows, in the order of the table."""
    for mode in MODES:
        for size_kib in SIZES_KIB:
            for connections in CONNECTIONS:
                yield Echo(mode, size_kib, connections)
    for mode in MANY_MODES:
        yield Echo(mode, 1, MANY_CONNECTIONS)
    for mode in LARGE_MODES:
        yield Echo(mode, 1024, 10)
    for size_kib, connections in ((1, 10), (1, 100), (64, 10)):
        yield Echo("unix", size_kib, connections)
    for connections in (1, 10):
        yield SendFile(connections)
    for connections in (10, 100):
        yield Http(connections)
    for connections in DATAGRAM_CLIENTS:
        yield Echo("udp", 1, connections)
    for size_kib, connections in TLS_ECHO:
        yield Echo(TLS, size_kib, connections)
    for mode in ("protocol", "streams", TLS):
        yield Connect(mode)
    for mode in ("protocol", "streams"):
        yield Idle(mode, IDLE)
    yield Idle(TLS, IDLE_TLS)


def server(tools: Tools, loop: str, mode: str, *, tls: bool = False) -> EchoServer:
    """Start a server, which accepts connections when this returns.

    It uses TLS with `tls`, and in the mode of that name.
    """
    if loop == LIMIT:
        return EchoServer([tools.echo])
    command: list[str | Path] = [Path(sys.executable), SERVER, "--loop", loop, "--mode", mode]
    if not tls and mode != TLS:
        return EchoServer(command)
    made = certificates.files()
    return EchoServer([*command, "--key", made.key, "--chain", made.chain], made.authority)


class EchoServer(Process):
    """A server under test, with its address in the format of the load client."""

    def __init__(self, command: Sequence[str | Path], authority: Path | None = None) -> None:
        """Start the server and wait for its port, or its Unix socket's path.

        Args:
            command: the command line of the server.
            authority: the PEM file of the certificate's authority; `None` without TLS.
        """
        super().__init__(command)
        self.client_options = [] if authority is None else [f"--tls={authority}"]
        self.where = ""
        try:
            said = self.read_line().strip()
            self.where = f"127.0.0.1:{int(said)}" if said.isdigit() else f"unix:{said}"
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """End the child, and remove the file of its Unix socket, which it leaves behind."""
        super().__exit__(_type, _error, _traceback)
        if self.where.startswith("unix:"):
            Path(self.where.removeprefix("unix:")).unlink(missing_ok=True)


def drive(
    tools: Tools,
    process: EchoServer,
    mode: str,
    arguments: Sequence[str],
    seconds: float,
    warmup_s: float = 0.2,
) -> Sample:
    """Run the load client against a server, and add the server's CPU time to its output.

    Raises:
        ProcessError: a reply was wrong or missing.
    """
    arguments = [*arguments, *process.client_options]
    window = [f"--seconds={seconds}", f"--warmup={warmup_s}", "--gate=yes"]
    try:
        with Process([tools.load, mode, process.where, *arguments, *window]) as client:
            client.read_line()  # The client has warmed up and waits for the start.
            cpu_s = process.cpu_s()
            client.write_line("go")
            said = cast("dict[str, float]", json.loads(client.read_line()))
            cpu_s = process.cpu_s() - cpu_s
            client.finish()
    except ProcessError as error:
        complaint = process.complaint()
        raise ProcessError(f"{error}; the server: {complaint}" if complaint else error) from None
    requests = said["requests"]
    return {
        "cpu_us": cpu_s * 1e6 / requests,
        "rps": said["rps"],
        "p50_us": said["p50_us"],
        "p99_us": said["p99_us"],
    }


def idle(tools: Tools, process: EchoServer, connections: int) -> Process:
    """Open connections that are used once and then stay idle; they close with the process."""
    options = [f"--connections={connections}", *process.client_options]
    client = Process([tools.load, "idle", process.where, *options])
    try:
        client.read_line(patience_s=OPENING_S)
    except BaseException:
        client.__exit__(None, None, None)
        raise
    return client


def allow_descriptors(wanted: int) -> None:
    """Raise this process's limit of open files, which its children inherit.

    Raises:
        ProcessError: the system does not allow that many.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise ProcessError(f"needs {wanted} open files, {hard} are allowed (ulimit -n)")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
