"""The `openssl` command as a peer: an interactive child, driven without blocking the loop."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING

from tests.tcp.recorders import PATIENCE_S
from tests.tls.peers import in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

OPENSSL = shutil.which("openssl")


class Command:
    """A running `openssl`.

    Args:
        arguments: the arguments of the command.
    """

    def __init__(self, *arguments: str | Path) -> None:
        """Starts it."""
        assert OPENSSL is not None
        self.said = bytearray()
        self._heard = 0
        self._child = subprocess.Popen(
            [OPENSSL, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    async def say(self, text: bytes) -> None:
        """Writes to its input: data to send, or a command."""
        assert self._child.stdin is not None
        await in_thread(self._child.stdin.write, text)
        await in_thread(self._child.stdin.flush)

    async def until(self, text: bytes) -> None:
        """Returns when its output contains `text`, after the text of the previous call."""
        while (place := self.said.find(text, self._heard)) < 0:
            data = await in_thread(self._read)
            assert data, bytes(self.said)
            self.said += data
        self._heard = place + len(text)

    async def end(self) -> bytes:
        """Closes its input, waits, and returns all of its output."""
        rest, _ = await in_thread(lambda: self._child.communicate(timeout=PATIENCE_S))
        return bytes(self.said) + rest

    def kill(self) -> None:
        """Kills it, in whatever state it is."""
        self._child.kill()
        with contextlib.suppress(ValueError):  # Its pipes are closed already.
            self._child.communicate(timeout=PATIENCE_S)

    def _read(self) -> bytes:
        assert self._child.stdout is not None
        return os.read(self._child.stdout.fileno(), 1 << 16)


@contextlib.asynccontextmanager
async def openssl(*arguments: str | Path) -> AsyncGenerator[Command, None]:
    """Runs `openssl` with arguments; it is killed on exit."""
    command = await in_thread(lambda: Command(*arguments))
    try:
        yield command
    finally:
        await in_thread(command.kill)


def free_port() -> int:
    """Returns a port for a server that cannot report the one that it got."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
