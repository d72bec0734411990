"""The process that callgrind counts; `counting.py` starts it, for one loop and some rows.

Each row has a child of its own, forked before anything was counted, so that its count does not
depend on which other rows are counted. The child writes two dumps of callgrind, `ROW N` and
`ROW 2N`.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys

import loops
import server
from callgrind import Callgrind
from lockstep import Lockstep
from rows import BY_NAME, Row

#: Seconds. Under valgrind, the usual 5 ms are a few microseconds of a processor's time: threads
#: would take turns by chance. A thread gives the interpreter away when it waits, and only then.
SWITCH_S = 100.0

#: Seconds; more than any row needs on a busy machine. A loop that hangs fails.
PATIENCE_S = 300


def count(callgrind: Callgrind, loop_name: str, row: Row, dumps: dict[str, int]) -> None:
    """Count multiples of a row's operations on a new loop, a dump for each."""
    loop = loops.new(loop_name)
    asyncio.set_event_loop(loop)
    row.prepare(loop, row.operations)()  # The interpreter specializes it, not instrumented.
    callgrind.start()
    for name, factor in dumps.items():
        timed = row.prepare(loop, factor * row.operations)
        # The collector walks what a row leaves behind, and nothing older.
        gc.collect()
        gc.freeze()
        callgrind.zero()
        timed()
        callgrind.dump(f"{row.name} {name}")


def in_child(callgrind: Callgrind, loop_name: str, row: Row, dumps: dict[str, int]) -> str:
    """Count a row in a child process; return why that failed, or nothing."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(PATIENCE_S)  # Ends the process.
            count(callgrind, loop_name, row, dumps)
        except BaseException as error:
            os.write(writing, f"{type(error).__name__}: {error}"[:200].encode())
        finally:
            os._exit(0)  # Closing is not counted, and not all loops can close.
    os.close(writing)
    with open(reading) as reasons:
        reason = reasons.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return reason or (f"ended by signal {-status}" if status else "")


def main() -> None:
    """Count rows of one loop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", required=True, choices=loops.available())
    parser.add_argument("--rows", required=True, help="names with commas between them")
    parser.add_argument("--once", action="store_true", help="only N operations, for a profile")
    parser.add_argument("--key", required=True, help="PEM file of a private key")
    parser.add_argument("--chain", required=True, help="PEM file of its certificates")
    options = parser.parse_args()
    callgrind = Callgrind()
    Lockstep.counting = callgrind
    Lockstep.keys = server.Keys(options.key, options.chain)
    sys.setswitchinterval(SWITCH_S)
    loops.new(options.loop).close()  # Imports it, for all rows.
    dumps = {"N": 1} if options.once else {"N": 1, "2N": 2}
    for name in options.rows.split(","):
        reason = in_child(callgrind, options.loop, BY_NAME[name], dumps)
        if reason:
            print(f"{name}: {' '.join(reason.split())}", flush=True)


if __name__ == "__main__":
    main()
