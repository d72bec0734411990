"""Names and places of the functions of a shared library, from its symbol table."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_SYMBOLS = 2  # SHT_SYMTAB
_FUNCTION = 2  # STT_FUNC


def functions(path: Path) -> dict[str, range]:
    """Returns the addresses of each function, from the library's base, by its mangled name.

    Args:
        path: a 64-bit little-endian ELF file, as on Linux. The table of one that was stripped is
            empty.
    """
    image = path.read_bytes()
    assert image[:6] == b"\x7fELF\x02\x01", f"{path} is no 64-bit ELF file"
    (start,) = struct.unpack_from("<Q", image, 40)
    size, count = struct.unpack_from("<HH", image, 58)
    # Each with: name, kind, flags, address, offset, size, link, info, alignment, size of an entry.
    sections = [struct.unpack_from("<IIQQQQIIQQ", image, start + i * size) for i in range(count)]
    found: dict[str, range] = {}
    for section in sections:
        if section[1] != _SYMBOLS:
            continue
        names = sections[section[6]][4]
        table = image[section[4] : section[4] + section[5]]
        for name, info, _, _, address, length in struct.iter_unpack("<IBBHQQ", table):
            if info & 15 == _FUNCTION and length:
                end = image.index(b"\0", names + name)
                found[image[names + name : end].decode()] = range(address, address + length)
    return found
