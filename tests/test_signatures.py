"""Do our methods accept the parameters of the running interpreter's own?

asyncio calls a loop's hooks with keywords that were added in the same release. A missing keyword
fails a test here, and not a user's program.
"""

from __future__ import annotations

import asyncio
import fnmatch
import inspect
import sys
from asyncio import events, selector_events, sslproto, unix_events
from typing import TYPE_CHECKING, Any

import pytest

import yamanote
from yamanote import _subprocess, _yamanote

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LOOP: Any = vars(unix_events)["_UnixSelectorEventLoop"]
_CHILD: Any = vars(unix_events)["_UnixSubprocessTransport"]
_READ_PIPE: Any = vars(unix_events)["_UnixReadPipeTransport"]
_STREAM: Any = vars(selector_events)["_SelectorSocketTransport"]
_DATAGRAM: Any = vars(selector_events)["_SelectorDatagramTransport"]
_WRITE_PIPE: Any = vars(unix_events)["_UnixWritePipeTransport"]
_TLS: Any = vars(sslproto)["_SSLProtocolTransport"]

#: Our classes, each with the asyncio class that it replaces.
PAIRS: dict[str, tuple[Any, Any]] = {
    "loop": (yamanote.Loop, _LOOP),
    "handle": (_yamanote.Handle, events.Handle),
    "timer": (_yamanote.TimerHandle, events.TimerHandle),
    "stream": (_yamanote.SocketTransport, _STREAM),
    "datagram": (_yamanote.DatagramTransport, _DATAGRAM),
    "read pipe": (_yamanote.ReadPipeTransport, _READ_PIPE),
    "write pipe": (_yamanote.WritePipeTransport, _WRITE_PIPE),
    "tls": (_yamanote.SSLTransport, _TLS),
    "tls protocol": (_yamanote.SSLTransport, sslproto.SSLProtocol),
    "child": (_subprocess.SubprocessTransport, _CHILD),
}

_OWN_STEP = "a private step of asyncio's transport, called only by itself"

#: Members of asyncio's class that ours lacks, by pattern, each with the reason.
DONE_WITHOUT: dict[str, dict[str, str]] = {
    "loop": {
        "_accept_connection": "accepting is native (`_listen`)",
        "_accept_connection2": "accepting is native (`_listen`)",
        "_check_signal": "signals are checked in `_signals.py`",
        "_handle_signal": "signals are handled in `_signals.py`",
        "_child_watcher_callback": "the reactor waits for children, without a watcher",
        **dict.fromkeys(
            ("_close_self_pipe", "_make_self_pipe", "_process_self_data", "_read_from_self"),
            "the self-pipe that wakes asyncio's selector: the reactor is woken natively",
        ),
        **dict.fromkeys(
            (
                "_sock_accept",
                "_sock_add_cancellation_callback",
                "_sock_connect",
                "_sock_connect_cb",
                "_sock_read_done",
                "_sock_recv",
                "_sock_recv_into",
                "_sock_recvfrom",
                "_sock_recvfrom_into",
                "_sock_sendall",
                "_sock_sendfile_native_impl",
                "_sock_sendfile_update_filepos",
                "_sock_sendto",
                "_sock_write_done",
            ),
            "a private step of asyncio's `sock_*` calls: ours are native awaitables",
        ),
    },
    "stream": dict.fromkeys(
        (
            "_add_reader",
            "_add_writer",
            "_adjust_leftover_buffer",
            "_call_connection_lost",
            "_call_soon",
            "_fatal_error",
            "_get_sendmsg_buffer",
            "_read_ready*",
            "_write_ready",
            "_write_send",
            "_write_sendmsg",
        ),
        _OWN_STEP,
    ),
    "datagram": dict.fromkeys(
        (
            "_add_reader",
            "_add_writer",
            "_call_connection_lost",
            "_call_soon",
            "_fatal_error",
            "_force_close",
            "_maybe_pause_protocol",
            "_maybe_resume_protocol",
            "_read_ready",
            "_set_write_buffer_limits",
        ),
        _OWN_STEP,
    ),
    "read pipe": dict.fromkeys(
        ("_add_reader", "_call_connection_lost", "_close", "_fatal_error", "_read_ready"),
        _OWN_STEP,
    ),
    "write pipe": dict.fromkeys(
        (
            "_call_connection_lost",
            "_close",
            "_fatal_error",
            "_maybe_pause_protocol",
            "_maybe_resume_protocol",
            "_read_ready",
            "_set_write_buffer_limits",
            "_write_ready",
        ),
        _OWN_STEP,
    ),
    "tls": {
        "_test__append_write_backlog": "for asyncio's own tests of its write backlog",
    },
    "tls protocol": {
        "_*": "private steps of asyncio's protocol, called only by itself and its transport",
        "get_buffer": "the underlying stream decrypts directly from its own buffer",
        "buffer_updated": "the underlying stream decrypts directly from its own buffer",
    },
}

#: Methods with a different signature, each with the reason.
OTHER_SIGNATURES: dict[str, dict[str, str]] = {
    name: {"__del__": "asyncio keeps a module alive in a default argument"}
    for name in ("stream", "datagram", "read pipe", "write pipe", "tls", "child")
}
if sys.version_info < (3, 13, 3):
    OTHER_SIGNATURES["loop"] = {
        "create_task": "keywords are passed to asyncio's method, which raises its own error",
    }

#: Keywords that ours accept even if the running asyncio does not have them.
NEW_KEYWORDS = {"context"} if sys.version_info < (3, 15) else set[str]()


def methods(theirs: type[object]) -> Iterator[str]:
    """Returns the names of the callables on instances of a class of asyncio's."""
    for name in dir(theirs):
        if not hasattr(object, name):
            member = inspect.getattr_static(theirs, name)
            if inspect.isroutine(member) or isinstance(member, (classmethod, staticmethod)):
                yield name


def reason(table: dict[str, dict[str, str]], kind: str, name: str) -> str | None:
    """Returns the reason why `name` is excepted, if it is."""
    reasons = table.get(kind, {})
    return next((why for pattern, why in reasons.items() if fnmatch.fnmatch(name, pattern)), None)


def parameters(function: object) -> list[tuple[str, Any, object]]:
    """Returns the names, kinds and defaults of the parameters after `self`."""
    assert callable(function)
    listed = list(inspect.signature(function).parameters.values())
    assert listed[0].name == "self"
    return [(each.name, each.kind, each.default) for each in listed[1:]]


@pytest.mark.parametrize("kind", PAIRS)
def test_every_method_of_asyncios_is_there(kind: str) -> None:
    ours, theirs = PAIRS[kind]
    lacking = [
        name
        for name in methods(theirs)
        if not hasattr(ours, name) and reason(DONE_WITHOUT, kind, name) is None
    ]
    assert not lacking, ", ".join(lacking)


@pytest.mark.parametrize("kind", PAIRS)
def test_every_method_takes_what_asyncios_takes(kind: str) -> None:
    ours, theirs = PAIRS[kind]
    different: list[str] = []
    for name in methods(theirs):
        own, other = getattr(ours, name, None), getattr(theirs, name)
        if own is None or own is other or reason(OTHER_SIGNATURES, kind, name) is not None:
            continue
        expected, found = parameters(other), parameters(own)
        known = {name for name, _, _ in expected}
        found = [
            (name, how, default)
            for name, how, default in found
            if name in known or name not in NEW_KEYWORDS or default is not None
        ]
        if found != expected:
            different.append(f"{name}: {inspect.signature(own)}, not {inspect.signature(other)}")
    assert not different, "\n".join(different)


@pytest.mark.parametrize("starts", [True, False])
@pytest.mark.parametrize("is_unix", [True, False])
def test_the_server_is_asyncios_own_with_more_methods(
    tmp_path: Path, is_unix: bool, starts: bool
) -> None:
    async def main() -> asyncio.Server:
        loop = asyncio.get_running_loop()
        if is_unix:
            path = tmp_path / "socket"
            server = await loop.create_unix_server(asyncio.Protocol, path, start_serving=starts)
        else:
            server = await loop.create_server(
                asyncio.Protocol, "127.0.0.1", 0, start_serving=starts
            )
        assert server.is_serving() == starts
        assert repr(server).startswith("<Server sockets=(<asyncio.TransportSocket ")
        server.close()
        await server.wait_closed()
        return server

    server = yamanote.run(main())
    assert type(server) is yamanote.Server
    assert isinstance(server, asyncio.Server)


def test_a_server_of_a_programs_own_class_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(asyncio.Server):
        pass

    async def main() -> asyncio.Server:
        server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
        server.close()
        await server.wait_closed()
        return server

    monkeypatch.setattr(asyncio.base_events, "Server", Mine)
    assert type(yamanote.run(main())) is Mine


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio.run() has no loop_factory")
def test_run_takes_what_asyncios_takes_and_three_keywords_more() -> None:
    ours, theirs = (
        [
            (each.name, each.kind, each.default)
            for each in inspect.signature(run).parameters.values()
        ]
        for run in (yamanote.run, asyncio.run)
    )
    keyword = inspect.Parameter.KEYWORD_ONLY
    more = [("keep_tasks", False), ("origins", 0), ("limits", None)]
    assert ours == [*theirs, *((name, keyword, default) for name, default in more)]


def test_a_keyword_that_ours_lacks_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests the comparison itself."""

    class Newer(_LOOP):  # type: ignore[misc]
        def call_soon(
            self, callback: object, *args: object, context: object = None, why: int = 1
        ) -> None:
            raise NotImplementedError

        def call_sooner(self) -> None:
            raise NotImplementedError

    monkeypatch.setitem(PAIRS, "loop", (yamanote.Loop, Newer))
    with pytest.raises(AssertionError, match=r"call_soon: .*, not .*why"):
        test_every_method_takes_what_asyncios_takes("loop")
    with pytest.raises(AssertionError, match="call_sooner"):
        test_every_method_of_asyncios_is_there("loop")
