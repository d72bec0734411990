"""Scenarios: short programs that use one part of the loop, check their bytes and clean up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.scenes import network, scheduling, system

if TYPE_CHECKING:
    from tests.faults.stage import OutsideScene, Scene

#: Scenarios that run on a loop.
SCENES: dict[str, Scene] = {
    scene.__name__: scene
    for scene in (
        scheduling.callbacks,
        scheduling.tasks,
        scheduling.threads,
        scheduling.futures,
        scheduling.forks,
        network.tcp,
        network.buffered,
        network.streams,
        network.udp,
        network.unix,
        network.tls,
        network.start_tls,
        network.sendfile,
        system.child,
        system.pipes,
        system.signals,
        system.sockets,
        system.watches,
        system.names,
        system.files,
    )
}

#: Scenarios that make their loops themselves.
OUTSIDE: dict[str, OutsideScene] = {
    scene.__name__: scene for scene in (scheduling.loops, scheduling.runner)
}

NAMES = (*SCENES, *OUTSIDE)

#: Scenarios that only yamanote's loop can run.
OURS = ("futures", "files")
