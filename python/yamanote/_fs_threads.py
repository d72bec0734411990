"""The threads of `yamanote.fs`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from yamanote._parts import Base
else:
    Base = object


class Files(Base):
    """File calls run on their own threads, so that a full default executor does not delay them."""

    _file_threads: ThreadPoolExecutor | None = None

    def _files(self) -> ThreadPoolExecutor:
        if self._file_threads is None:
            # Imported when first used, as asyncio does, so that importing yamanote is quick.
            from concurrent.futures import ThreadPoolExecutor

            self._file_threads = ThreadPoolExecutor(_MAX_CALLS, "yamanote-fs")
        return self._file_threads

    def _close_files(self) -> None:
        if self._file_threads is not None:
            threads, self._file_threads = self._file_threads, None
            threads.shutdown(wait=False, cancel_futures=True)


def pool_of(loop: object) -> ThreadPoolExecutor | None:
    """Return the file pool of a loop; `None` if the loop is not yamanote's."""
    return loop._files() if isinstance(loop, Files) else None  # pyright: ignore[reportPrivateUsage]


# The same limit as anyio's. Threads are started on demand; a disk serves fewer calls at once.
_MAX_CALLS = 40
