"""Do the soak's clients of databases go on after an episode, and does it without servers?"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

import yamanote
from tests.databases import servers
from tests.processes import LINUX
from tests.soak import databases
from tests.soak.episodes import EPISODE
from tests.soak.recorder import Recorder
from tests.soak.workloads import repeat

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.soak.workloads import Workload

pytestmark = [
    pytest.mark.skipif(not LINUX, reason="looks into /proc"),
    pytest.mark.slow,
    pytest.mark.hang_after(300),
]

CLIENTS = [name for clients in databases.CLIENTS.values() for name in clients]


@pytest.fixture(scope="module")
def rounds() -> Generator[dict[str, Workload], None, None]:
    """The workloads of the servers that are installed."""
    with databases.workloads() as chosen:
        yield chosen


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_completes_rounds_around_an_episode(
    name: str, rounds: dict[str, Workload]
) -> None:
    if name not in rounds:
        pytest.skip("its server is not installed")
    recorder = Recorder()

    async def until_rounds(count: int) -> None:
        while recorder.rounds[name] < count and not recorder.texts:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(EPISODE.handler(recorder.on_exception))
        repeating = asyncio.ensure_future(repeat(name, rounds[name], recorder, 0.01))
        await until_rounds(5)
        while not recorder.refused and not recorder.texts:
            await EPISODE.play(0.3)
            await asyncio.sleep(0.01)
        await until_rounds(recorder.rounds[name] + 5)
        recorder.is_over = True
        await repeating

    yamanote.run(main())
    assert recorder.texts == []


def test_what_is_not_installed_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def program(_: str) -> str:
        raise servers.NotInstalled("it is not installed")

    monkeypatch.setattr(servers, "program", program)
    with databases.workloads() as chosen:
        assert not chosen
    assert capsys.readouterr().out.splitlines() == [
        "without redis: it is not installed",
        "without asyncpg and psycopg: it is not installed",
    ]
