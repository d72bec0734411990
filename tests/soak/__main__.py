"""Runs every kind of work on one loop for hours, and records what the process holds.

usage: python -m tests.soak --hours 2 --out .cache/soak

Writes `soak.csv`, `soak.svg` and `errors.txt` to the folder. Fails if any round failed, or if
descriptors or threads are left at the end. Says which databases are not installed, and goes on
without their clients.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import yamanote
from tests.soak import databases, frameworks, workloads
from tests.soak.episodes import EPISODE
from tests.soak.lines import draw
from tests.soak.recorder import Recorder
from tests.soak.resources import Resources
from tests.tls.certificates import client_context, server_context

if TYPE_CHECKING:
    from tests.soak.workloads import Workload

#: Seconds between two rounds of a workload: the machine may have other work.
PAUSE_S = 0.1
EPISODE_S = 0.3


def plan() -> argparse.Namespace:
    """Returns the options."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--out", type=Path, default=Path(".cache/soak"))
    parser.add_argument("--samples", type=int, default=240, help="how many, evenly spaced")
    return parser.parse_args()


async def main(
    recorder: Recorder, hours: float, samples: int, clients: dict[str, Workload]
) -> None:
    """Starts servers and workloads, takes the samples, and ends everything.

    Args:
        recorder: takes what happens.
        hours: how long.
        samples: how many, evenly spaced.
        clients: workloads whose servers run already.
    """
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(EPISODE.handler(recorder.on_exception))
    async with contextlib.AsyncExitStack() as stack:
        servers = [
            await asyncio.start_server(workloads.serve_echo, workloads.LOCALHOST, 0, ssl=context)
            for context in (None, server_context())
        ]
        for server in servers:
            await stack.enter_async_context(server)
        plain, secure = (server.sockets[0].getsockname()[1] for server in servers)
        uvicorn_port = await stack.enter_async_context(frameworks.uvicorn_port())
        aiohttp_port = await stack.enter_async_context(frameworks.aiohttp_port())
        chosen = clients | workloads.on_own_loop(plain, secure, client_context())
        chosen |= {
            "uvicorn": frameworks.requests(uvicorn_port),
            "aiohttp": frameworks.requests(aiohttp_port),
            "websockets": frameworks.websockets(aiohttp_port),
        }
        tasks = [
            asyncio.ensure_future(workloads.repeat(name, work, recorder, PAUSE_S))
            for name, work in chosen.items()
        ]
        measuring = asyncio.ensure_future(recorder.measure_lag())
        for _ in range(samples):
            await asyncio.sleep(max(0.0, hours * 3600 / samples - EPISODE_S))
            await EPISODE.play(EPISODE_S)
            recorder.sample()
        recorder.is_over = True
        await asyncio.gather(*tasks)
        measuring.cancel()
        await asyncio.wait([measuring])
        for name in chosen:
            if not recorder.rounds[name]:
                recorder.failed(name, None, "no round was completed")


def run() -> int:
    """Runs the soak and writes what it found. Returns the exit code."""
    options = plan()
    options.out.mkdir(parents=True, exist_ok=True)
    yamanote.run(workloads.rust_futures())  # What is opened once belongs to no run.
    gc.collect()
    before = Resources.now()
    recorder = Recorder()
    with databases.workloads() as clients:
        yamanote.run(main(recorder, options.hours, options.samples, clients))
    gc.collect()
    after = Resources.now()
    recorder.write(options.out / "soak.csv")
    title = f"{options.hours:g} h, Python {sys.version.split()[0]}"
    (options.out / "soak.svg").write_text(draw(title, recorder.samples))
    (options.out / "errors.txt").write_text("\n".join(recorder.texts))
    left = sorted(after.descriptors - before.descriptors)
    for name, count in sorted(recorder.rounds.items()):
        print(f"{name:<14} {count:>8} rounds  {recorder.errors[name]:>3} errors")
    print(f"loop: {recorder.errors['loop']} errors; {recorder.refused} rounds without descriptors")
    print(f"memory in the second half: {recorder.slope_mib_per_hour():+.2f} MiB an hour")
    print(f"left: {left or 'no descriptor'}, {after.threads - before.threads} threads")
    return int(bool(recorder.errors.total() or left or after.threads > before.threads))


if __name__ == "__main__":
    sys.exit(run())
