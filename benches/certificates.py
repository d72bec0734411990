"""A certificate for the servers under test, created for each run."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Files:
    """PEM files: the authority's certificate, the key, and the server's certificate chain."""

    authority: Path
    key: Path
    chain: Path


@functools.cache
def files() -> Files:
    """Return the files, which exist as long as this process."""
    folder = Path(tempfile.mkdtemp(prefix="yamanote-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made = Files(folder / "authority.pem", folder / "key.pem", folder / "chain.pem")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(made.authority))
    leaf = authority.issue_cert("localhost")
    leaf.private_key_pem.write_to_path(str(made.key))
    for index, blob in enumerate(leaf.cert_chain_pems):
        blob.write_to_path(str(made.chain), append=index > 0)
    return made
