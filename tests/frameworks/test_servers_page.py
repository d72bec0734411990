"""Do the servers of docs/servers.md answer every client while they are restarted?"""

from __future__ import annotations

import re
import signal
import socket
from pathlib import Path

import pytest

from tests.frameworks.http import PATIENCE_S, Client
from tests.frameworks.inherited import activated

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[2] / "docs" / "servers.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def example(text: str) -> str:
    """Returns the example with `text` in it."""
    (found,) = (it for it in EXAMPLES if text in it)
    assert isinstance(found, str)
    return found


@pytest.mark.parametrize("kind", ["serve_until", "uvicorn", "aiohttp"])
def test_a_server_that_is_restarted_answers_who_has_connected(kind: str) -> None:
    """Also a client that it has not accepted when it gets SIGTERM."""
    if kind != "serve_until":
        pytest.importorskip(kind, reason="no wheel of it for this interpreter")
    text = {"uvicorn": "class Server(uvicorn.Server)", "aiohttp": "web.AppRunner"}.get(kind, kind)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        process = activated([listener], "-c", example(text))
        try:
            with Client(port) as client, Client(port) as young:
                assert client.get("/").body == b"hello"
                young.send("GET", "/")
                process.send_signal(signal.SIGTERM)
                assert young.receive().body == b"hello"
            code = process.wait(PATIENCE_S)
            assert code in (0, -signal.SIGTERM if kind == "uvicorn" else 0)
        finally:
            process.kill()
            process.wait()
