"""Whom we believe to be who they are, when we speak TLS: one list a process."""

from __future__ import annotations

import ssl
from functools import cache

import httpx


@cache
def authorities() -> ssl.SSLContext:
    """The usual certificate authorities, or those that SSL_CERT_FILE or SSL_CERT_DIR name. Reading
    that list takes longer than a call, so every client takes this one."""
    return httpx.create_ssl_context()
