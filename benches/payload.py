"""What the demo's applications serve, so that the demo can check what comes back."""

from __future__ import annotations

import json

TEXT = "Hello, world!"

#: The sort of object that an API gives: a few fields and a short list.
OBJECT = {
    "id": 29,
    "name": "Yamanote Line",
    "kind": "loop",
    "length_km": 34.5,
    "stations": ["Tokyo", "Ueno", "Ikebukuro", "Shinjuku", "Shibuya", "Shinagawa"],
}


def dumps(value: object) -> str:
    """Write JSON the way that Starlette writes it; aiohttp is told to do the same."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
