"""The responses of the demo's applications, which the demo checks."""

from __future__ import annotations

import json

TEXT = "Hello, world!"

#: A typical API response: a few fields and a short list.
OBJECT = {
    "id": 29,
    "name": "Yamanote Line",
    "kind": "loop",
    "length_km": 34.5,
    "stations": ["Tokyo", "Ueno", "Ikebukuro", "Shinjuku", "Shibuya", "Shinagawa"],
}


def dumps(value: object) -> str:
    """Format JSON like Starlette; aiohttp is configured to use this, too."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
