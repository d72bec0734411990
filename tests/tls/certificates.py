"""Certificates made for the run: nothing here expires in the repository."""

from __future__ import annotations

import functools
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trustme

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAME = "localhost"


@functools.cache
def authority() -> trustme.CA:
    """Who signs everything below."""
    return trustme.CA()


@functools.cache
def certificate(*names: str) -> trustme.LeafCert:
    """A certificate for `names`."""
    return authority().issue_cert(*names)


def server_context(*names: str, client_certificate: bool = False) -> ssl.SSLContext:
    """A server's context, with a certificate for `names` (or `NAME`).

    Args:
        names: whom it speaks for.
        client_certificate: whether clients must show one, too.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _show(certificate(*(names or (NAME,))), context)
    if client_certificate:
        context.verify_mode = ssl.CERT_REQUIRED
        _trust(context)
    return context


def client_context(*, trusting: bool = True, known_as: str | None = None) -> ssl.SSLContext:
    """A client's context, which verifies.

    Args:
        trusting: whether it knows the authority.
        known_as: the name in the certificate that it shows, if it has one.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if trusting:
        _trust(context)
    if known_as is not None:
        _show(certificate(known_as), context)
    return context


@dataclass(frozen=True)
class Files:
    """PEM files: who signed, the key for `NAME`, and the chain of its certificate."""

    authority: Path
    key: Path
    chain: Path


def write_files(folder: Path) -> Files:
    """Writes what programs read from files."""
    made = Files(folder / "authority.pem", folder / "key.pem", folder / "chain.pem")
    authority().cert_pem.write_to_path(str(made.authority))
    leaf = certificate(NAME)
    leaf.private_key_pem.write_to_path(str(made.key))
    for index, blob in enumerate(leaf.cert_chain_pems):
        blob.write_to_path(str(made.chain), append=index > 0)
    return made


def _trust(context: ssl.SSLContext) -> None:
    trust: Callable[[ssl.SSLContext], None] = getattr(authority(), "configure_trust")  # noqa: B009 - trustme also takes pyOpenSSL's contexts, which the type checkers miss
    trust(context)


def _show(leaf: trustme.LeafCert, context: ssl.SSLContext) -> None:
    show: Callable[[ssl.SSLContext], None] = getattr(leaf, "configure_cert")  # noqa: B009 - as above
    show(context)
