"""Servers of a run's own: on loopback, with TLS and without, and a Unix socket.

Their data is in a directory of their own.
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
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.tls.certificates import NAME, write_files

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

#: Seconds until a server must have started, or be gone. Generous: the machine may be busy.
PATIENCE_S = 30.0


def program(name: str) -> str:
    """Where a program is.

    The test is skipped where that cannot be had, and fails where it is only not installed.
    """
    # Debian keeps PostgreSQL's off the path.
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *map(str, places)])
    if (found := shutil.which(name, path=path)) is not None:
        return found
    if sys.platform == "linux" and shutil.which("apt-get") and os.geteuid() == 0:
        pytest.fail(f"{name} is not installed: run tests/databases/install (`make test` does)")
    if os.environ.get("CI"):
        pytest.fail(f"{name} is not installed, and tests/databases/install cannot do it here")
    pytest.skip(f"{name} is not installed")


def free_port() -> int:
    """A port on loopback that nobody has, and that no client is given by chance.

    A client that tries again and again while the server is down would, once in a while, be given
    the server's port for its own end and connect to itself.
    """
    while True:
        port = random.randrange(10240, 32768)
        with socket.socket() as candidate, contextlib.suppress(OSError):
            candidate.bind(("127.0.0.1", port))
            return port


class Server(ABC):
    """A server, and all of its processes."""

    def __init__(self) -> None:
        """Makes its directory and finds it a port; `running()` does the rest."""
        # Not pytest's: others may not look into that one, and the path of a Unix socket is short.
        self.directory = Path(tempfile.mkdtemp(prefix="yamanote-"))
        self.files = write_files(self.directory)
        self.port = free_port()
        self._log = self.directory / "log"
        self._process: subprocess.Popen[bytes] | None = None
        #: Whom the server runs as: PostgreSQL will not run as root.
        self._owner: pwd.struct_passwd | None = None
        if os.geteuid() == 0:
            self._owner = _unprivileged()
            os.chown(self.directory, self._owner.pw_uid, self._owner.pw_gid)

    def prepare(self) -> None:
        """What is done once, before the first launch."""
        # It takes the key only if nobody else can read it.
        self.files.key.chmod(0o600)
        if (owner := self._owner) is not None:
            os.chown(self.files.key, owner.pw_uid, owner.pw_gid)

    @abstractmethod
    def command(self) -> Sequence[str]:
        """The command that runs it in the foreground."""

    @abstractmethod
    def urls(self) -> dict[str, str]:
        """Where clients find it, by the kind of connection."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether it answers."""

    def launch(self) -> None:
        """Starts it. Only from the main thread: should that end, the server goes with it."""
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
        """Returns once it answers."""
        assert self._process is not None
        deadline = time.monotonic() + PATIENCE_S
        while not self.is_ready():
            gone = self._process.poll() is not None
            if gone or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start:\n{self._log.read_text()}")
            time.sleep(0.02)

    def kill(self) -> None:
        """Kills every process of it, without a word to its clients. Does nothing if none runs."""
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
        """All its processes: those that work in its directory, or below."""
        found: list[int] = []
        for entry in Path("/proc").glob("[0-9]*/cwd"):
            # Not ours to look into, or gone meanwhile.
            with contextlib.suppress(OSError):
                if entry.readlink().is_relative_to(self.directory):
                    found.append(int(entry.parent.name))
        return found

    @contextlib.contextmanager
    def running(self) -> Generator[None, None, None]:
        """It runs within the context; nothing of it is left afterwards."""
        try:
            self.prepare()
            self.launch()
            self.wait_until_ready()
            yield
        finally:
            self.kill()
            shutil.rmtree(self.directory)

    def _as_owner(self) -> list[str]:
        """What goes before a command: it runs as the owner, and not longer than this process."""
        prefix = [program("setpriv"), "--pdeathsig", "KILL"]
        if (owner := self._owner) is not None:
            prefix += [f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]
        return [*prefix, "--"]


class Redis(Server):
    """A Redis that writes each command down before it answers it."""

    def __init__(self) -> None:
        """As `Server`, with a second port: here, TLS needs one of its own."""
        super().__init__()
        self._tls_port = free_port()

    def command(self) -> list[str]:
        """The command that runs it in the foreground."""
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
            # It is killed, not the machine: what it wrote stays.
            "appendfsync": "no",
        }
        command = [program("redis-server")]
        for name, value in options.items():
            command += [f"--{name}", value]
        return command

    def urls(self) -> dict[str, str]:
        """Where redis-py finds it."""
        trust = f"ssl_ca_certs={self.files.authority}"
        return {
            "tls": f"rediss://{NAME}:{self._tls_port}?{trust}",
            "tcp": f"redis://127.0.0.1:{self.port}",
            "unix": f"unix://{self.directory}/socket",
        }

    def is_ready(self) -> bool:
        """Whether it answers."""
        with socket.socket() as connection, contextlib.suppress(OSError):
            connection.settimeout(PATIENCE_S)
            connection.connect(("127.0.0.1", self.port))
            connection.sendall(b"PING\r\n")
            return connection.recv(1) == b"+"
        return False


class Postgres(Server):
    """A PostgreSQL with the user `postgres`, whom it trusts."""

    def __init__(self) -> None:
        """As `Server`."""
        super().__init__()
        self._data = self.directory / "data"

    def prepare(self) -> None:
        """Makes its data directory."""
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
        """The command that runs it in the foreground."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.directory),
            "ssl": "on",
            "ssl_cert_file": str(self.files.chain),
            "ssl_key_file": str(self.files.key),
            "shared_buffers": "16MB",
            # It is killed, not the machine: what it wrote stays.
            "fsync": "off",
        }
        command = [program("postgres"), "-D", str(self._data), "-p", str(self.port)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        return command

    def urls(self) -> dict[str, str]:
        """Where asyncpg and libpq find it."""
        trust = f"sslmode=verify-full&sslrootcert={self.files.authority}"
        return {
            "tls": f"postgresql://postgres@{NAME}:{self.port}/postgres?{trust}",
            "tcp": f"postgresql://postgres@127.0.0.1:{self.port}/postgres?sslmode=disable",
            "unix": f"postgresql://postgres@/postgres?host={self.directory}&port={self.port}",
        }

    def is_ready(self) -> bool:
        """Whether it answers."""
        asked = subprocess.run(
            [program("pg_isready"), "-q", "-h", str(self.directory), "-p", str(self.port)],
            check=False,
        )
        return asked.returncode == 0


def _unprivileged() -> pwd.struct_passwd:
    """Somebody who may run a PostgreSQL."""
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")
