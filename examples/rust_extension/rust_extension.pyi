"""An HTTP client and a Redis client in Rust, awaited from Python."""

from collections.abc import Coroutine
from typing import Any, final

@final
class Client:
    """An HTTP client that reuses its connections: create one, and use it for all requests."""

    def __new__(cls) -> Client: ...
    def get(self, url: str) -> Coroutine[Any, Any, Response]:
        """Fetch `url`."""

    def post(self, url: str, body: bytes) -> Coroutine[Any, Any, Response]:
        """Send `body` to `url`."""

@final
class Response:
    """The response of a server."""

    @property
    def status(self) -> int: ...
    @property
    def body(self) -> bytes: ...

@final
class Redis:
    """One connection, shared by the commands of all its users."""

    @staticmethod
    def connect(url: str) -> Coroutine[Any, Any, Redis]:
        """Connect to `redis://host:port`."""

    def set(self, key: str, value: bytes) -> Coroutine[Any, Any, None]:
        """Set a key."""

    def get(self, key: str) -> Coroutine[Any, Any, bytes | None]:
        """Return the value of a key, or `None` if there is no such key."""

    def incr(self, key: str) -> Coroutine[Any, Any, int]:
        """Increment the number at a key; return the new value."""
