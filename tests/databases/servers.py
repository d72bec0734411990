"""Private servers of a run: on loopback, with and without TLS, and on a Unix socket.

Their data is in temporary directories.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

from tests.tls.certificates import NAME, write_files

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

#: Seconds within which a server must start or exit. Generous, because the machine may be busy.
PATIENCE_S = 30.0


class NotInstalled(Exception):
    """A program that a server needs is missing."""


def program(name: str) -> str:
    """Returns the path of a program. Raises `NotInstalled` if it is missing."""
    # Debian does not put PostgreSQL's programs on the path.
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *map(str, places)])
    if (found := shutil.which(name, path=path)) is None:
        raise NotInstalled(f"{name} is not installed")
    return found


def free_port() -> int:
    """Returns a free port on loopback, outside the range of ephemeral ports.

    A client that retries while the server is down could otherwise be assigned the server's port as
    its own local port, and connect to itself.
    """
    while True:
        port = random.randrange(10240, 32768)
        with socket.socket() as candidate, contextlib.suppress(OSError):
            candidate.bind(("127.0.0.1", port))
            return port


class Server(ABC):
    """A server with all of its processes."""

    def __init__(self) -> None:
        """Creates its directory and finds a port; `running()` starts it."""
        # Not pytest's directory: other users cannot read it, and Unix socket paths are limited.
        self.directory = Path(tempfile.mkdtemp(prefix="yamanote-"))
        self.files = write_files(self.directory)
        self.port = free_port()
        self._log = self.directory / "log"
        self._process: subprocess.Popen[bytes] | None = None
        #: The server's user: PostgreSQL does not run as root.
        self._owner: pwd.struct_passwd | None = None
        if os.geteuid() == 0:
            self._owner = _unprivileged()
            os.chown(self.directory, self._owner.pw_uid, self._owner.pw_gid)

    def prepare(self) -> None:
        """Runs once, before the first launch."""
        # PostgreSQL accepts the key only if no other user can read it.
        self.files.key.chmod(0o600)
        if (owner := self._owner) is not None:
            os.chown(self.files.key, owner.pw_uid, owner.pw_gid)

    @abstractmethod
    def command(self) -> Sequence[str]:
        """Returns the command that runs it in the foreground."""

    @abstractmethod
    def urls(self) -> dict[str, str]:
        """Returns the URLs for clients, by kind of connection."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Returns whether it accepts commands."""

    def launch(self) -> None:
        """Starts it. Only on the main thread: the server ends with the thread that started it."""
        assert self._process is None
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._as_owner(), *self.command()],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait_until_ready(self) -> None:
        """Returns when it accepts commands."""
        assert self._process is not None
        deadline = time.monotonic() + PATIENCE_S
        while not self.is_ready():
            gone = self._process.poll() is not None
            if gone or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start:\n{self._log.read_text()}")
            time.sleep(0.02)

    def kill(self) -> None:
        """Kills all of its processes without notifying clients. Does nothing if none is running."""
        deadline = time.monotonic() + PATIENCE_S
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        while pids := self.pids():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                raise RuntimeError(f"processes {pids} do not end")
            time.sleep(0.005)

    def pids(self) -> list[int]:
        """Returns all of its processes: those whose working directory is its directory or below."""
        found: list[int] = []
        for entry in Path("/proc").glob("[0-9]*/cwd"):
            # Not readable for us, or just gone.
            with contextlib.suppress(OSError):
                if entry.readlink().is_relative_to(self.directory):
                    found.append(int(entry.parent.name))
        return found

    @contextlib.contextmanager
    def running(self) -> Generator[None, None, None]:
        """Runs it within the context; kills it and removes its files afterwards."""
        try:
            self.prepare()
            self.launch()
            self.wait_until_ready()
            yield
        finally:
            self.kill()
            shutil.rmtree(self.directory)

    def _as_owner(self) -> list[str]:
        """Returns the prefix of its command: it runs as the owner, and ends with this process."""
        prefix = [program("setpriv"), "--pdeathsig", "KILL"]
        if (owner := self._owner) is not None:
            prefix += [f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]
        return [*prefix, "--"]


class Redis(Server):
    """A Redis that logs each command to disk before it replies."""

    def __init__(self) -> None:
        """Like `Server`, with a second port: Redis needs a separate one for TLS."""
        super().__init__()
        self._tls_port = free_port()

    def command(self) -> list[str]:
        """Returns the command that runs it in the foreground."""
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "tls-port": str(self._tls_port),
            "tls-ca-cert-file": str(self.files.authority),
            "tls-cert-file": str(self.files.chain),
            "tls-key-file": str(self.files.key),
            "tls-auth-clients": "no",
            "unixsocket": str(self.directory / "socket"),
            "save": "",
            "appendonly": "yes",
            # Only the process is killed, not the machine: data in the page cache survives.
            "appendfsync": "no",
        }
        command = [program("redis-server")]
        for name, value in options.items():
            command += [f"--{name}", value]
        return command

    def urls(self) -> dict[str, str]:
        """Returns the URLs for redis-py."""
        trust = f"ssl_ca_certs={self.files.authority}"
        return {
            "tls": f"rediss://{NAME}:{self._tls_port}?{trust}",
            "tcp": f"redis://127.0.0.1:{self.port}",
            "unix": f"unix://{self.directory}/socket",
        }

    def is_ready(self) -> bool:
        """Returns whether it accepts commands."""
        with socket.socket() as connection, contextlib.suppress(OSError):
            connection.settimeout(PATIENCE_S)
            connection.connect(("127.0.0.1", self.port))
            connection.sendall(b"PING\r\n")
            return connection.recv(1) == b"+"
        return False


class Postgres(Server):
    """A PostgreSQL with the user `postgres`, who needs no password."""

    def __init__(self) -> None:
        """Like `Server`."""
        super().__init__()
        self._data = self.directory / "data"

    def prepare(self) -> None:
        """Creates its data directory."""
        super().prepare()
        options = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C"]
        subprocess.run(
            [
                *self._as_owner(),
                program("initdb"),
                f"--pgdata={self._data}",
                "--no-sync",
                "--no-instructions",
                *options,
            ],
            cwd=self.directory,
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def command(self) -> list[str]:
        """Returns the command that runs it in the foreground."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.directory),
            "ssl": "on",
            "ssl_cert_file": str(self.files.chain),
            "ssl_key_file": str(self.files.key),
            "shared_buffers": "16MB",
            # Only the process is killed, not the machine: data in the page cache survives.
            "fsync": "off",
        }
        command = [program("postgres"), "-D", str(self._data), "-p", str(self.port)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        return command

    def urls(self) -> dict[str, str]:
        """Returns the URLs for asyncpg and libpq."""
        trust = f"sslmode=verify-full&sslrootcert={self.files.authority}"
        return {
            "tls": f"postgresql://postgres@{NAME}:{self.port}/postgres?{trust}",
            "tcp": f"postgresql://postgres@127.0.0.1:{self.port}/postgres?sslmode=disable",
            "unix": f"postgresql://postgres@/postgres?host={self.directory}&port={self.port}",
        }

    def is_ready(self) -> bool:
        """Returns whether it accepts commands."""
        asked = subprocess.run(
            [program("pg_isready"), "-q", "-h", str(self.directory), "-p", str(self.port)],
            check=False,
        )
        return asked.returncode == 0


def _unprivileged() -> pwd.struct_passwd:
    """Returns an unprivileged user who can run PostgreSQL."""
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")
