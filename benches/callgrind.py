"""Client requests to callgrind, from Python and without a compiler.

A client request is a sequence of instructions that does nothing on a processor and that valgrind
recognises (`valgrind/valgrind.h`). This module writes it into executable memory.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: A function for x86-64: it takes the address of six words in `rdi`, and the reply is in `rax`.
CODE = bytes.fromhex(
    "4889f8"  # mov rax, rdi
    "31d2"  # xor edx, edx: the reply of a processor
    "48c1c703 48c1c70d 48c1c73d 48c1c733"  # rol rdi, 3 + 13 + 61 + 51 = 128 bits
    "4887db"  # xchg rbx, rbx
    "4889d0"  # mov rax, rdx
    "c3"  # ret
)

RUNNING_ON_VALGRIND = 0x1001

#: From `valgrind/callgrind.h`; a tool's requests carry its two letters.
CALLGRIND = ord("C") << 24 | ord("T") << 16
ZERO_STATS = CALLGRIND + 1
TOGGLE_COLLECT = CALLGRIND + 2
DUMP_STATS_AT = CALLGRIND + 3
START_INSTRUMENTATION = CALLGRIND + 4


class Callgrind:
    """The tool that this process runs under."""

    def __init__(self) -> None:
        """Write the function.

        Raises:
            SystemExit: this process does not run under valgrind on an x86-64 processor.
        """
        if platform.machine() not in ("x86_64", "AMD64"):
            raise SystemExit("instructions are counted on x86-64 only")
        self._memory = mmap.mmap(
            -1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
        )
        self._memory.write(CODE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._call = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)(address)
        if not self._request(RUNNING_ON_VALGRIND):
            raise SystemExit("does not run under valgrind")
        #: Stops counting, or goes on. Ready-made, because part of its own cost is counted.
        self.toggle: Callable[[], object] = self._ready(TOGGLE_COLLECT)

    def start(self) -> None:
        """Instrument the code from here on: until then it runs without counting, and fast."""
        self._request(START_INSTRUMENTATION)

    def zero(self) -> None:
        """Begin to count at zero."""
        self._request(ZERO_STATS)

    def dump(self, name: str) -> None:
        """Write the counts to a file, whose header has the name, and begin at zero."""
        text = ctypes.create_string_buffer(name.encode())
        self._request(DUMP_STATS_AT, ctypes.addressof(text))

    def _request(self, code: int, argument: int = 0) -> int:
        words = (ctypes.c_uint64 * 6)(code, argument)
        reply: int = self._call(ctypes.addressof(words))
        return reply

    def _ready(self, code: int) -> Callable[[], object]:
        words = (ctypes.c_uint64 * 6)(code)
        call, address = self._call, ctypes.addressof(words)

        def request(_kept: object = words) -> object:
            return call(address)

        return request
