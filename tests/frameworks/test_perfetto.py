"""A trace of the demo's application in Perfetto's own parser."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import yamanote
from tests import perfetto, traces
from tests.frameworks.http import Client
from tests.frameworks.test_uvicorn import in_thread, serving

if TYPE_CHECKING:
    from starlette.applications import Starlette

pytestmark = pytest.mark.slow

BENCHES = Path(__file__).parent.parent.parent / "benches"
REQUESTS = 20


@pytest.fixture
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A trace of some requests to the demo's application."""
    path = tmp_path / "trace.json"
    monkeypatch.setattr(sys, "path", [str(BENCHES), *sys.path])
    app: Starlette = importlib.import_module("app").app

    def client(port: int) -> None:
        with Client(port) as connection:
            for _ in range(REQUESTS):
                assert connection.get("/json").status == 200

    async def main() -> None:
        async with serving(app, "h11") as port:
            with yamanote.trace(path):
                await in_thread(client, port)

    yamanote.run(main())
    return path


def test_perfetto_finds_no_fault(trace: Path) -> None:
    faults = "select name, value from stats where severity in ('error', 'data_loss') and value > 0"
    assert perfetto.query(trace, faults) == []


def test_perfetto_sees_the_same_slices_inside_each_other(trace: Path) -> None:
    rows = perfetto.query(trace, "select id, parent_id, ts, dur, depth, name from slice")
    own = traces.read(trace)
    assert sorted((row["ts"], row["ts"] + row["dur"], row["name"]) for row in rows) == sorted(
        (each.began, each.ended, each.name) for each in own.slices()
    )
    by_id: dict[int, dict[str, Any]] = {row["id"]: row for row in rows}
    inside = [row for row in rows if row["parent_id"] is not None]
    assert inside
    for row in inside:
        parent = by_id[row["parent_id"]]
        assert row["depth"] == parent["depth"] + 1
        assert parent["ts"] <= row["ts"]
        assert row["ts"] + row["dur"] <= parent["ts"] + parent["dur"]


def test_its_names_are_the_programs(trace: Path) -> None:
    sql = """
        select slice.name as name, extract_arg(arg_set_id, 'args.at') as at,
            extract_arg(arg_set_id, 'args.task') as task, thread.name as thread
        from slice join thread_track on slice.track_id = thread_track.id join thread using (utid)
    """
    rows = perfetto.query(trace, sql)
    steps = [row for row in rows if row["name"] == "RequestResponseCycle.run_asgi"]
    assert len(steps) >= REQUESTS
    assert all("uvicorn" in row["at"] and row["task"] for row in steps)
    assert sum(row["name"] == "H11Protocol: readable" for row in rows) >= REQUESTS
    assert {row["thread"] for row in rows} == {"MainThread"}
