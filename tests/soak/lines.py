"""Line charts of a soak, one below the other, as SVG."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.soak.recorder import Sample

WIDTH, HEIGHT = 720, 110
LEFT, GAP, TOP = 90, 40, 60
COLOUR = "#80c241"

#: The measures, and what stands beside their lines.
CHARTS = (
    ("rss_mib", "memory, MiB"),
    ("descriptors", "descriptors"),
    ("threads", "threads"),
    ("lag_s", "lag, s"),
    ("errors", "errors"),
)


def draw(title: str, samples: list[Sample]) -> str:
    """Returns the charts; each begins at zero and has a scale of its own."""
    height = TOP + len(CHARTS) * (HEIGHT + GAP)
    width = LEFT + WIDTH + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        ' font-family="system-ui, Helvetica, Arial, sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="10" y="26" font-size="16">{escape(title)}</text>',
    ]
    for number, (name, label) in enumerate(CHARTS):
        parts += chart(TOP + number * (HEIGHT + GAP), name, label, samples)
    return "\n".join([*parts, "</svg>"]) + "\n"


def chart(top: int, name: str, label: str, samples: list[Sample]) -> Iterator[str]:
    """Yields the parts of one chart."""
    values = [float(getattr(sample, name)) for sample in samples]
    most = max(values) or 1.0
    last = samples[-1].seconds or 1.0
    points = " ".join(
        f"{LEFT + WIDTH * sample.seconds / last:.1f},{top + HEIGHT - HEIGHT * value / most:.1f}"
        for sample, value in zip(samples, values, strict=True)
    )
    yield f'<text x="10" y="{top + HEIGHT / 2}">{escape(label)}</text>'
    yield f'<text x="{LEFT}" y="{top - 4}" fill="#777">{most:g}</text>'
    yield (
        f'<path d="M{LEFT} {top}V{top + HEIGHT}H{LEFT + WIDTH}" stroke="#bbb" fill="none"/>'
        f'<polyline points="{points}" fill="none" stroke="{COLOUR}" stroke-width="1.5"/>'
    )
    yield (
        f'<text x="{LEFT + WIDTH}" y="{top + HEIGHT + 15}" fill="#777"'
        f' text-anchor="end">{last / 60:.1f} min</text>'
    )
