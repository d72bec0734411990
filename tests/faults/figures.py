"""The figures of campaigns: a file of them, and the tables that show it."""

from __future__ import annotations

import json
import platform
import sysconfig
from typing import TYPE_CHECKING, Any

from tests.faults.campaign import ROOT, Figures
from tests.faults.points import Point

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.campaign import Campaign, Job

#: The page's table stands between these lines.
BEGIN = "<!-- written by python -m tests.faults --page -->"
END = "<!-- the end of what is written -->"


def python() -> str:
    """Returns the version of this interpreter, as in 3.14.1t."""
    return platform.python_version() + "t" * bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


def total(figures: dict[str, dict[str, Figures]]) -> str:
    """Returns a line about all tries."""
    all_of_them = [one for kinds in figures.values() for one in kinds.values()]
    tried = sum(one.tried for one in all_of_them)
    return f"{tried} tried, {tried - sum(one.clean() for one in all_of_them)} unclean"


def lines(figures: dict[str, dict[str, Figures]]) -> list[str]:
    """Returns a line for each scenario and kind."""
    return [
        f"{scenario:10} {kind:7} {one.tried:6} tried  {one.outcomes}"
        for scenario, kinds in figures.items()
        for kind, one in kinds.items()
    ]


def write(path: Path, job: Job, campaign: Campaign, seconds: float) -> None:
    """Puts the figures into the file, which keeps those of other loops and interpreters."""
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    kept[f"{job.loop} {python()}"] = {
        "every": job.every,
        "all": not campaign.is_over(),
        "seconds": round(seconds),
        "scenarios": {
            scenario: {
                kind: {"tried": one.tried, **dict(sorted(one.outcomes.items()))}
                for kind, one in sorted(kinds.items())
            }
            for scenario, kinds in sorted(campaign.figures.items())
        },
        # Without the path of this checkout, which stacks of tasks name.
        "unclean": sorted(
            f"{one.point}: {one.unclean[0].replace(f'{ROOT}/', '')}"[:200]
            for one in campaign.findings
        )[:400],
    }
    path.write_text(json.dumps(dict(sorted(kept.items())), indent=1) + "\n")


def table(kept: dict[str, Any]) -> list[str]:
    """Returns the table of a page: a row for each loop and interpreter."""
    rows = [
        "| loop | calls | allocations | reservations | cancelled | ended | not clean |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, one in kept.items():
        cells: list[str] = []
        whys: dict[str, int] = {}
        for kind in Point.KINDS:
            tried = clean = 0
            for kinds in one["scenarios"].values():
                outcomes = dict(kinds.get(kind, {"tried": 0}))
                tried += outcomes.pop("tried")
                clean += sum(outcomes.pop(outcome, 0) for outcome in Figures.CLEAN)
                for why, count in outcomes.items():
                    whys[why] = whys.get(why, 0) + count
            cells.append(f"{clean:,} of {tried:,}" if tried else "-")
        said = ", ".join(f"{why} {count}" for why, count in sorted(whys.items())) or "nothing"
        rows.append(f"| {name} | {' | '.join(cells)} | {said} |")
    return rows


def show(path: Path, page: Path) -> None:
    """Writes the table into the page."""
    text = page.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    rows = "\n".join(table(json.loads(path.read_text())))
    page.write_text(f"{before}{BEGIN}\n\n{rows}\n\n{END}{after}")
