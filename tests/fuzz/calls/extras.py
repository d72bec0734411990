"""Calls that disturb everything else."""

from __future__ import annotations

from tests.fuzz.calls.call import calls

CALLS = (
    *calls("spin({passes})", weight=12),
    *calls("collect()", weight=2),
    *calls(
        "thresholds(1)",
        "warnings.simplefilter('error')",
        "setattr(sys, 'unraisablehook', {any})",
        "setattr(asyncio.log.logger, 'disabled', {bool})",
        "other_loop().call_soon({callback})",
        "sys.setswitchinterval(1e-5)",
        wild=True,
        weight=2,
    ),
)
