"""A certificate for the servers under test, made for the run."""

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
    """PEM files: who signed, the key, and the chain that a server shows."""

    authority: Path
    key: Path
    chain: Path


@functools.cache
def files() -> Files:
    """Give the files, which live as long as this process."""
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
