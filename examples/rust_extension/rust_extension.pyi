"""An HTTP client and a Redis client in Rust, awaited from Python."""

from collections.abc import Coroutine
from typing import Any, final

@final
class Client:
    """An HTTP client that keeps its connections: make one, and use it for all requests."""

    def __new__(cls) -> Client: ...
    def get(self, url: str) -> Coroutine[Any, Any, Response]:
        """Fetch `url`."""

    def post(self, url: str, body: bytes) -> Coroutine[Any, Any, Response]:
        """Send `body` to `url`."""

@final
class Response:
    """What a server answered."""

    @property
    def status(self) -> int: ...
    @property
    def body(self) -> bytes: ...

@final
class Redis:
    """One connection, which all its users' commands share."""

    @staticmethod
    def connect(url: str) -> Coroutine[Any, Any, Redis]:
        """Connect to `redis://host:port`."""

    def set(self, key: str, value: bytes) -> Coroutine[Any, Any, None]:
        """Set a key."""

    def get(self, key: str) -> Coroutine[Any, Any, bytes | None]:
        """Return the value of a key, or `None`."""

    def incr(self, key: str) -> Coroutine[Any, Any, int]:
        """Add one to a number; return the sum."""
