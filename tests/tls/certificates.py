"""Certificates created for each run, so that none in the repository expires."""

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
    """The certificate authority for all certificates below."""
    return trustme.CA()


@functools.cache
def certificate(*names: str) -> trustme.LeafCert:
    """Returns a certificate for `names`."""
    return authority().issue_cert(*names)


def server_context(*names: str, client_certificate: bool = False) -> ssl.SSLContext:
    """Returns a server's context, with a certificate for `names` (or `NAME`).

    Args:
        names: the names in the certificate.
        client_certificate: whether clients must present a certificate, too.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _show(certificate(*(names or (NAME,))), context)
    if client_certificate:
        context.verify_mode = ssl.CERT_REQUIRED
        _trust(context)
    return context


def client_context(*, trusting: bool = True, known_as: str | None = None) -> ssl.SSLContext:
    """Returns a client's context, which verifies the server.

    Args:
        trusting: whether it trusts the authority.
        known_as: the name in the certificate that it presents, if any.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if trusting:
        _trust(context)
    if known_as is not None:
        _show(certificate(known_as), context)
    return context


@dataclass(frozen=True)
class Files:
    """PEM files: the authority, the key for `NAME`, and its certificate chain."""

    authority: Path
    key: Path
    chain: Path


def write_files(folder: Path) -> Files:
    """Writes the PEM files for programs that read files."""
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
