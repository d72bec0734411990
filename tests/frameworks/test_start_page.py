"""Does each framework work as docs/start.md says?

Skipped without the framework: `make frameworks` installs all of them, and lets nothing be skipped.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.docs.pages import DOCS, Block, blocks_of
from tests.frameworks.http import PATIENCE_S, Client

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

pytestmark = pytest.mark.slow

PAGE = (DOCS / "start.md").read_text().partition("## With your framework\n")[2]
MODULES = {
    "FastAPI": "fastapi_cli",
    "gunicorn with uvicorn's worker": "uvicorn_worker",
    "Sanic": "sanic",
    "Tornado": "tornado",
    "Twisted": "twisted",
    "grpc.aio": "grpc",
    "pytest-asyncio": "pytest_asyncio",
    "Jupyter": "ipykernel",
    "Workers: arq": "arq",
}


@dataclass(frozen=True)
class Line:
    """The blocks of a section that begins with a framework's name."""

    framework: str
    files: tuple[Block, ...]
    command: Block | None

    def write(self, folder: Path, ports: dict[str, int]) -> list[str]:
        """Writes the files, with other ports, and returns the command."""
        for block in self.files:
            assert block.mark is not None
            path = folder / block.mark.removeprefix("file: ")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(with_ports(block.code, ports))
        return shlex.split(with_ports(self.command.code, ports)) if self.command else []


def with_ports(text: str, ports: dict[str, int]) -> str:
    """Returns a text of the page with other ports."""
    for given, port in ports.items():
        text = re.sub(rf"\b{given}\b", str(port), text)
    return text


def lines() -> Iterator[Line]:
    """Yields what is on the page, by framework."""
    first, *sections = re.split(r"^### ", PAGE.partition("\n## ")[0], flags=re.MULTILINE)
    common = tuple(blocks_of("start.md", first))
    for section in sections:
        name, _, text = section.partition("\n")
        blocks = tuple(blocks_of("start.md", text))
        files = tuple(it for it in blocks if (it.mark or "").startswith("file: "))
        command = next((it for it in blocks if it.language == "sh"), None)
        yield Line(name, common + files, command)


LINES = {line.framework: line for line in lines()}
JUPYTER, ARQ = LINES["Jupyter"], LINES["Workers: arq"]
SHORT = [
    it for it in LINES.values() if it.command and (it.command.output or "pytest" in it.framework)
]
SERVERS = [it for it in LINES.values() if it not in (*SHORT, JUPYTER, ARQ)]


@pytest.fixture(autouse=True)
def has_framework(request: pytest.FixtureRequest) -> None:
    """Skips a test whose framework is not installed, unless all must be."""
    line = request.node.callspec.params["line"]
    assert isinstance(line, Line)
    module = MODULES.get(line.framework, line.framework)
    if "NEEDS_FRAMEWORKS" not in os.environ and importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed: make frameworks")


def environment(folder: Path) -> dict[str, str]:
    """Returns the environment of a user whose virtual environment is this one."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "JUPYTER_PATH": str(folder), "PYTHONPATH": python_path()}


def python_path() -> str:
    """Returns what a program needs to find the package as this process does."""
    import yamanote

    return str(Path(yamanote.__file__).parents[1])


def free_port() -> int:
    """Returns a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def started(command: list[str], folder: Path) -> Generator[subprocess.Popen[bytes], None, None]:
    """Runs a command in a session of its own, which ends with the block."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(folder),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    except BaseException as error:
        error.add_note((folder / "log").read_text())
        raise
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def until_it_listens(process: subprocess.Popen[bytes], port: int) -> None:
    """Waits until a server accepts connections. None of the servers says so in the same way."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        assert process.poll() is None, "the server has ended"
        time.sleep(0.05)
    pytest.fail("the server does not listen")


def name_of(line: object) -> str:
    """Returns a test's name."""
    assert isinstance(line, Line)
    return line.framework


@pytest.mark.parametrize("line", SERVERS, ids=name_of)
def test_a_server_runs_on_our_loop(line: Line, tmp_path: Path) -> None:
    port = free_port()
    command = line.write(tmp_path, {"8000": port})
    with started(command, tmp_path) as process:
        until_it_listens(process, port)
        with Client(port) as client:
            assert b"yamanote._" in client.get("/").body


@pytest.mark.parametrize("line", SHORT, ids=name_of)
def test_a_program_does_what_the_page_says(line: Line, tmp_path: Path) -> None:
    assert line.command is not None
    done = subprocess.run(
        line.write(tmp_path, {}),
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env=environment(tmp_path),
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if line.command.output:
        assert done.stdout.rstrip("\n") == line.command.output


@pytest.mark.parametrize("line", [JUPYTER], ids=name_of)
def test_a_cell_of_a_notebook_runs_on_our_loop(line: Line, tmp_path: Path) -> None:
    line.write(tmp_path, {})
    # In a process of its own: the client of the kernel has an event loop, too.
    ask = (
        "from pathlib import Path\n"
        "from jupyter_client.manager import start_new_kernel\n"
        "manager, client = start_new_kernel(kernel_name='yamanote')\n"
        "client.execute_interactive(Path('cell.py').read_text(), timeout=30)\n"
        "client.stop_channels()\n"
        "manager.shutdown_kernel(now=True)\n"
    )
    cell = Line(line.framework, (), replace(line.files[0], code=shlex.join(["python", "-c", ask])))
    done = subprocess.run(
        cell.write(tmp_path, {}),
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env=environment(tmp_path),
        text=True,
        timeout=2 * PATIENCE_S,
    )
    assert (done.returncode, done.stdout) == (0, "yamanote._replacing\n"), done.stderr


@pytest.mark.parametrize("line", [ARQ], ids=name_of)
def test_a_worker_runs_on_our_loop(line: Line, tmp_path: Path) -> None:
    server = shutil.which("redis-server")
    if server is None:
        pytest.skip("there is no redis-server: make servers")
    port = free_port()
    command = line.write(tmp_path, {"6379": port})
    folder = tmp_path / "redis"
    folder.mkdir()
    with started([server, "--port", str(port), "--save", ""], folder) as redis:
        until_it_listens(redis, port)
        with started(command, tmp_path):
            done = subprocess.run(
                [sys.executable, "jobs.py"],
                capture_output=True,
                check=False,
                cwd=tmp_path,
                env=environment(tmp_path),
                text=True,
                timeout=2 * PATIENCE_S,
            )
    assert done.stdout == "yamanote._replacing\n", done.stderr
