"""The values for gaps in calls, by kind: good, hostile and wild ones.

Values are expressions and may have gaps, too. No delay is short and positive, no host needs a name
server, and no socket blocks for long: results must not depend on the speed of the machine.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Pool:
    """The values of one kind."""

    good: tuple[str, ...]
    #: Of the wrong type, closed, or odd.
    hostile: tuple[str, ...] = ()
    #: They run code of the program, and loops may differ in when and how often they call it. Used
    #: only in programs whose results are not compared.
    wild: tuple[str, ...] = ()


_HUGE = (
    "2**31 - 1",
    "2**31",
    "2**32",
    "2**63 - 1",
    "2**63",
    "2**64",
    "-2**31 - 1",
    "-2**63 - 1",
    "10**400",
    "1e308",
    "inf",
    "-inf",
    "nan",
)
_ODD = (
    "True",
    "OwnInt(3)",
    "OwnFloat(0.0)",
    "Decimal(1)",
    "Decimal('nan')",
    "Fraction(1, 3)",
    "Indexed()",
    "Floated()",
    "1j",
)
_WRONG = ("None", "'1'", "b'1'", "()", "object()", "loop", "int", "[1]", "...")
_RAISING = tuple(
    f"trap('{method}')"
    for method in (
        "__bool__",
        "__eq__",
        "__float__",
        "__hash__",
        "__index__",
        "__len__",
        "__repr__",
    )
)
_TRAPS = tuple(
    f"trap('{method}', on({{block}}){base})"
    for method, base in (
        ("__bool__", ""),
        ("__call__", ""),
        ("__del__", ""),
        ("__eq__", ""),
        ("__float__", ""),
        ("__hash__", ""),
        ("__index__", ""),
        ("__len__", ""),
        ("__repr__", ""),
        ("__str__", ""),
        ("fileno", ""),
        ("__iter__", ""),
        ("__eq__", ", 1"),
        ("__lt__", ", 1.0"),
        ("__len__", ", b'x'"),
        ("__del__", ", b'x'"),
        ("__hash__", ", 'x'"),
        ("__eq__", ", 'x'"),
    )
) + (("trap('__buffer__', on({block}))",) if sys.version_info >= (3, 12) else ())
_RAISING_BUFFER = ("trap('__buffer__')",) if sys.version_info >= (3, 12) else ()

POOLS: dict[str, Pool] = {
    "any": Pool(("None", "1", "'text'", "b'x'"), _HUGE + _ODD + _WRONG + _RAISING, _TRAPS),
    "bool": Pool(
        ("True", "False"), ("None", "1", "'no'", "[]", "2**64"), ("trap('__bool__')", *_TRAPS)
    ),
    "number": Pool(("0", "1", "2", "3"), ("-1", *_HUGE, *_ODD, *_WRONG, *_RAISING), _TRAPS),
    "limit": Pool(
        ("0", "1", "2", "10", "100", "65536", "1000000"),
        ("-1", "-100", *_HUGE, *_ODD, *_WRONG, *_RAISING),
        _TRAPS,
    ),
    "delay": Pool(
        ("0", "0.0", "-1", "1e5", "3600"),
        (*_HUGE, "-1e308", "OwnFloat(-1.0)", "OwnInt(0)", *_ODD, *_WRONG, *_RAISING),
        _TRAPS,
    ),
    "when": Pool(
        ("0", "loop.time()", "loop.time() - 1", "loop.time() + 1e5"),
        # asyncio's loop ends on deadlines from which its time cannot be subtracted.
        (*_HUGE, "-1e308", "True", "OwnInt(3)", "OwnFloat(0.0)", "Fraction(1, 3)", "None"),
        (*_ODD, *_WRONG, *_RAISING, *_TRAPS),
    ),
    "passes": Pool(("8", "12", "20", "40")),
    "rest": Pool(
        (
            "",
            "",
            "",
            ", {any}",
            ", {any}, {any}",
            ", 1, {any}, 3",
            ", 1, 2, 3, {any}",
            ", 1, 2, 3, 4, {any}",
            ", 1, 2, {any}, 4, 5, 6",
            ", *range(20)",
        )
    ),
    "context": Pool(
        ("None", "__import__('contextvars').Context()"),
        ("__import__('contextvars').copy_context()",),
        ("1", "{any}"),
    ),
    "callback": Pool(
        (
            "on({block})",
            "on({block})",
            "on({block})",
            "on({block})",
            "functools.partial(on({block}), 1)",
        ),
        (
            "{any}",
            "nothing",
            "nothing()",
            "adder('a')",
            "len",
            "int",
            "trap('__call__')",
            "loop.stop",
        ),
        ("on({block}).__call__", "{stream}.close", "{future}.set_result", "collect"),
    ),
    "handler": Pool(
        ("None", "on({block})"),
        ("{any}", "trap('__call__')", "nothing", "int", "len"),
        ("trap('__call__', on({block}))",),
    ),
    "report": Pool(
        ("dict(message='m')", "dict(message='m', exception=ValueError())"),
        (
            "dict()",
            "{any}",
            "dict(message={any})",
            "dict(exception={any})",
            "dict(message='m', handle={any})",
            "dict(message='m', future={any}, source_traceback={any})",
            "dict(message='m', task={any}, protocol={any}, transport={any})",
        ),
    ),
    "taskfactory": Pool(
        ("None", "asyncio.Task and None"),
        ("{any}", "len", "trap('__call__')", "make(None)", "make(3)"),
        ("on({block})", "trap('__call__', on({block}))"),
    ),
    "job": Pool(
        ("len, b'x'", "make(None)", "int"), ("trap('__call__')", "{any}", "nothing", "int, 'x'")
    ),
    "threaded": Pool(
        (
            "functools.partial(loop.call_soon_threadsafe, on({block}))",
            "functools.partial(loop.call_soon_threadsafe, on({block}), 1, 2, 3, 4, 5)",
            "functools.partial(asyncio.run_coroutine_threadsafe, nothing(), loop)",
            "loop.is_running",
            "loop.is_closed",
            "loop.time",
            "loop.get_debug",
        )
    ),
    "executor": Pool(("None",), ("{any}",)),
    "coroutine": Pool(
        ("nothing()", "failing()", "asyncio.sleep(0)", "wait({future})", "wait({task})"),
        ("{any}", "nothing", "yielding()", "loop.create_future()", "trap('__await__')"),
        ("trap('__await__', on({block}))",),
    ),
    "awaitable": Pool(
        (
            "nothing()",
            "failing()",
            "asyncio.sleep(0)",
            "{future}",
            "{task}",
            "loop.create_future()",
        ),
        ("{any}", "nothing", "yielding()", "other_loop().create_future()", "trap('__await__')"),
        ("trap('__await__', on({block}))",),
    ),
    "exception": Pool(
        ("ValueError('planted')", "ZeroDivisionError"),
        (
            "StopIteration()",
            "StopIteration",
            "{any}",
            "KeyboardInterrupt()",
            "OSError(9, 'bad')",
            "type",
        ),
    ),
    "buffer": Pool(
        (
            "b'x'",
            "b''",
            "b'x' * 1000",
            "b'line\\n'",
            "b'x' * 100000",
            "bytearray(b'xyz')",
            "bytearray(5000)",
        ),
        (
            "memoryview(b'view')",
            "memoryview(bytearray(10000))",
            "OwnBytes(b'own')",
            "array('I', [1, 2])",
            "array('b')",
            "doubles(3)",
            "every_other(10)",
            "released()",
            "structure(16)",
            "memoryview(structure(16))",
            "memoryview(b'ab').cast('B', [2, 1])",
            "memoryview(b'').toreadonly()",
            *_WRONG,
            *_RAISING_BUFFER,
            "trap('__len__', None, b'x')",
            "trap('__iter__')",
        ),
        _TRAPS,
    ),
    "buffers": Pool(
        ("(b'a', b'b')", "[]", "[b'x'] * 50", "(b'', bytearray(b'x'), b'y' * 5000)"),
        (
            "{any}",
            "[{buffer}, {buffer}]",
            "iter([b'a', b'b'])",
            "b'bytes'",
            "trap('__iter__')",
            "[b'x', 3]",
        ),
        _TRAPS,
    ),
    "plain": Pool(
        (
            "Plain()",
            "Buffered()",
            "Plain(data_received=on({block}))",
            "Plain(connection_made=on({block}))",
            "Plain(connection_lost=on({block}))",
            "Plain(eof_received=on({block}), keep=True)",
            "Plain(pause_writing=on({block}), resume_writing=on({block}))",
            "Buffered(buffer_updated=on({block}))",
            "Duck(data_received=on({block}))",
        ),
        (
            "Plain(keep={any})",
            "Buffered(buffer={buffer})",
            "Buffered(buffer=bytearray(1))",
            "lacking('data_received')",
            "lacking('connection_lost')",
            "lacking('eof_received')",
            "lacking('pause_writing', 'resume_writing')",
        ),
        ("Buffered(get_buffer=on({block}))", "Buffered(buffer=trap('__len__', on({block}), b'x'))"),
    ),
    "datagramming": Pool(
        (
            "Datagrams()",
            "Datagrams(datagram_received=on({block}))",
            "Datagrams(connection_lost=on({block}))",
            "Datagrams(error_received=on({block}))",
        ),
        (
            "Duck()",
            "lacking('datagram_received', 'error_received')",
            "lacking('connection_lost')",
            "Plain()",
        ),
    ),
    "protocol": Pool(
        ("Plain()", "Datagrams()", "Duck()"),
        ("{any}", "None", "Child()", "lacking('data_received')"),
    ),
    "factory": Pool(
        ("make({plain})", "make({plain})", "make(Datagrams())", "Plain", "Child"),
        (
            "{any}",
            "on({block})",
            "make({any})",
            "make({protocol})",
            "trap('__call__')",
            "nothing",
            "int",
        ),
        ("trap('__call__', on({block}))",),
    ),
    "host": Pool(
        ("'127.0.0.1'", "'127.0.0.1'", "'127.0.0.1'", "'localhost'", "None"),
        (
            "''",
            "'::1'",
            "b'127.0.0.1'",
            "OwnStr('127.0.0.1')",
            "['127.0.0.1']",
            "['127.0.0.1', '127.0.0.1']",
            "[]",
            "'a\\0b'",
            "'\\ud800'",
            "'a' * 300",
            "'1'",
            "'127.0.0.1%lo'",
            "1",
            "1.5",
            "object()",
            "bytearray(b'127.0.0.1')",
            "trap('__hash__', None, '127.0.0.1')",
            "trap('__eq__', None, '127.0.0.1')",
            "trap('__iter__')",
        ),
    ),
    "freeport": Pool(
        ("0", "0", "None"), ("-1", "65536", "'0'", "b'0'", "'http'", *_HUGE, *_ODD, *_WRONG)
    ),
    "port": Pool(("1", "{listener}.getsockname()[1]"), ("-1", "65536", "'1'", *_HUGE, *_WRONG)),
    "address": Pool(
        ("('127.0.0.1', 0)", "{bound}", "{listener}.getsockname()", "('127.0.0.1', 1)"),
        (
            "('127.0.0.1', -1)",
            "('127.0.0.1', 65536)",
            "('127.0.0.1', 2**64)",
            "('127.0.0.1', '1')",
            "('127.0.0.1', None)",
            "('127.0.0.1', 1.5)",
            "('127.0.0.1', True)",
            "('127.0.0.1', OwnInt(1))",
            "('127.0.0.1', Indexed())",
            "('127.0.0.1',)",
            "('127.0.0.1', 1, 2, 3, 4)",
            "['127.0.0.1', 1]",
            "('::1', 1)",
            "('::1', 1, 2**32, -1)",
            "(b'127.0.0.1', 1)",
            "(None, 1)",
            "('', 1)",
            "('a\\0b', 1)",
            "('\\ud800', 1)",
            "('127.0.0.1', trap('__index__'))",
            "'/nonexistent/socket'",
            "b'/nonexistent/socket'",
            "'\\0abstract'",
            "''",
            "'a' * 200",
            *_WRONG,
        ),
        ("('127.0.0.1', trap('__index__', on({block})))",),
    ),
    "path": Pool(
        ("path('given')", "path('given')"),
        (
            "''",
            "'/nonexistent/socket'",
            "b'/nonexistent/socket'",
            "'a' * 200",
            "'a\\0b'",
            "'\\ud800'",
            "'/'",
            "trap('__fspath__')",
            *_WRONG,
        ),
        ("trap('__fspath__', on({block}))",),
    ),
    "ssl": Pool(
        ("None", "server_context()", "client_context()"),
        ("True", "False", "1", "'context'", "object()", "ssl.SSLContext", "trap('__bool__')"),
    ),
    "sslcontext": Pool(
        ("client_context()", "server_context()"), ("None", "True", "object()", "{any}")
    ),
    "listening": Pool(
        ("listener()", "listener()", "{listener}"),
        (
            "fresh()",
            "fresh('udp')",
            "fresh('bound')",
            "closed()",
            "detached()",
            "sockets().left",
            "{any}",
            "wrapped()",
        ),
    ),
    "connected": Pool(
        ("sockets().left", "tcp_sockets().left"),
        (
            "fresh()",
            "fresh('unix')",
            "fresh('udp')",
            "listener()",
            "closed()",
            "detached()",
            "wrapped()",
            "fresh(blocking=True)",
            "{any}",
        ),
        ("Opened(on({block}))", "trap('fileno', on({block}))"),
    ),
    "freshsocket": Pool(
        ("fresh()",), ("fresh('unix')", "fresh('udp')", "closed()", "fresh(blocking=True)", "{any}")
    ),
    "datagramsocket": Pool(
        ("fresh('udp')", "fresh('bound')"),
        ("None", "fresh()", "fresh('unix')", "closed()", "sockets().left", "{any}"),
    ),
    "socket": Pool(
        ("{sock}", "{sock}", "{sock}", "{sock}"),
        (
            "closed()",
            "detached()",
            "fresh()",
            "fresh('bound')",
            "fresh(blocking=True)",
            "wrapped()",
            "{listener}",
            "{stream}.get_extra_info('socket')",
            "Opened({any})",
            "trap('fileno')",
            "{any}",
        ),
        ("Opened(on({block}))", "trap('fileno', on({block}))"),
    ),
    "fd": Pool(
        ("{sock}", "{sock}.fileno()", "{sock}"),
        (
            "closed()",
            "detached()",
            "file()",
            "file().fileno()",
            "{stream}.get_extra_info('socket')",
            "Opened({any})",
            "Opened(-1)",
            "trap('fileno')",
            "-1",
            "900",
            *_HUGE,
            *_ODD,
            *_WRONG,
        ),
        (
            "trap('fileno', on({block}))",
            "trap('__eq__', on({block}), 900)",
            "trap('__hash__', on({block}), 900)",
        ),
    ),
    "opened": Pool(("file().fileno()", "{sock}.fileno()")),
    "pipe": Pool(
        ("pipe().read", "pipe().write", "sockets().left"),
        ("file()", "closed()", "detached()", "fresh()", "Opened({any})", "trap('fileno')", "{any}"),
        ("Opened(on({block}))", "trap('fileno', on({block}))"),
    ),
    "file": Pool(
        ("file()", "file(100000)", "file(0)"),
        (
            "pipe().read",
            "closed()",
            "{any}",
            "Opened({any})",
            "__import__('io').BytesIO(b'abc')",
            "__import__('io').StringIO('abc')",
            "trap('fileno')",
        ),
    ),
    "fact": Pool(
        ("'socket'", "'sockname'", "'peername'", "'ssl_object'", "'pipe'", "'nothing'"),
        ("None", "1", "b'socket'", "[]", "OwnStr('socket')", "trap('__hash__')"),
        (
            "trap('__eq__')",
            "trap('__hash__', on({block}), 'socket')",
            "trap('__eq__', on({block}), 'socket')",
        ),
    ),
    "signal": Pool(
        ("signal.SIGUSR1", "signal.SIGUSR2", "10"),
        (
            "0",
            "-1",
            "65",
            "signal.SIGKILL",
            "signal.SIGSTOP",
            "'SIGUSR1'",
            *_HUGE,
            *_ODD[1:],
            *_WRONG,
        ),
    ),
    "handled": Pool(("signal.SIGUSR1", "signal.SIGUSR2", "signal.SIGINT")),
    "childsignal": Pool(("0", "signal.SIGCONT", "signal.SIGTERM"), ("-1", "1000", *_HUGE, *_WRONG)),
    "command": Pool(("'true'", "'exit 3'", "'cat'", "'echo text'", "'cat > /dev/null; echo end'")),
    "mode": Pool(("'rb'", "'r'", "'r+b'"), ("'x'", "''", "'q'", "None", "1", "b'rb'")),
}
