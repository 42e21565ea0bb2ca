"""Sending webhooks: only to where outsiders may send us, and only to who proves the name."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from standardwebhooks import Webhook

from adapters import outgoing
from adapters.outgoing import Answered, Sender, is_public, shown, signed, url_refusal

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SECRETS = [b"a" * 32, b"b" * 32]


def send(url: str, *, local: bool, trusted: ssl.SSLContext | None = None) -> Answered:
    """What comes of one attempt."""

    async def attempt() -> Answered:
        sender = Sender(local=local, trusted=trusted)
        try:
            return await sender.send(url, "msg_1", "{}", SECRETS, NOW)
        finally:
            await sender.close()

    return asyncio.run(attempt())


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),  # where clouds keep their secrets
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("64:ff9b::a9fe:a9fe", False),  # the same, through a translator
        ("2002:7f00:1::", False),  # and through a tunnel
        ("2001:0:7f00:1::", False),
    ],
)
def test_only_addresses_of_the_public_internet_are_public(address: str, public: bool) -> None:
    assert is_public(ipaddress.ip_address(address)) is public


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://169.254.169.254/latest/meta-data",
        "https://user@example.com/",
        "https:///path",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://[::1/",
        "https://exämple.com/",
        "https://example.com/\n",
        "file:///etc/passwd",
    ],
)
def test_urls_that_nobody_may_make_us_send_to(url: str) -> None:
    assert url_refusal(url, local=False) is not None


@pytest.mark.parametrize("url", ["https://example.com/hook?x=1", "https://example.com:8443"])
def test_urls_that_are_fine(url: str) -> None:
    assert url_refusal(url, local=False) is None


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f.1"])
def test_a_name_is_judged_by_what_it_resolves_to(host: str) -> None:
    assert send(f"https://{host}:1/", local=False).error in (
        "address_not_allowed",
        "name_not_resolved",
    )


def test_a_url_that_was_allowed_once_is_not_sent_to_any_more() -> None:
    assert send("http://example.com/", local=False).error == "address_not_allowed"


def test_what_cannot_be_reached_is_an_outcome() -> None:
    assert send("http://127.0.0.1:1/", local=True).error == "not_connected"
    assert send("http://no-such-name.invalid/", local=True).error in (
        "name_not_resolved",
        "not_connected",
    )


def test_there_is_a_signature_for_each_secret() -> None:
    headers = signed("msg_1", '{"a":1}', SECRETS, datetime.now(UTC))

    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in SECRETS:
        assert Webhook(shown(secret)).verify('{"a":1}', headers) == {"a": 1}


def test_a_receiver_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing, "PATIENCE_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert send(f"http://127.0.0.1:{port}/", local=True).error == "timeout"


def test_what_a_receiver_answers_is_not_read() -> None:
    """However much it is."""
    with socket.create_server(("127.0.0.1", 0)) as endless:

        def answer() -> None:
            connection, _ = endless.accept()
            with connection, suppress(OSError):
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
                while True:
                    connection.sendall(b"x" * 65_536)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        answered = send(f"http://127.0.0.1:{endless.getsockname()[1]}/", local=True)
        thread.join(10)

    assert answered.status_code == 200
    assert not thread.is_alive()


def certificate(name: str, folder: Path) -> tuple[Path, Path]:
    """A certificate for a name, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) - timedelta(days=1))
        .not_valid_after(datetime.now(UTC) + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain, secret = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return chain, secret


@contextmanager
def speaking_tls(name: str, folder: Path) -> Iterator[tuple[int, ssl.SSLContext]]:
    """A server with a certificate for a name: its port, and a context that trusts it."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing to say."""

    chain, key = certificate(name, folder)
    server = HTTPServer(("127.0.0.1", 0), Handler)
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(chain, key)
    server.socket = own.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port, ssl.create_default_context(cafile=str(chain))
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def test_the_certificate_must_be_that_of_the_name(tmp_path: Path) -> None:
    """Though the connection goes to the address that was looked up and judged."""
    with speaking_tls("localhost", tmp_path) as (port, trusted):
        assert send(f"https://localhost:{port}/", local=True, trusted=trusted).status_code == 204
        assert send(f"https://localhost:{port}/", local=True).error == "not_connected"
        wrong = send(f"https://127.0.0.1:{port}/", local=True, trusted=trusted)
        assert wrong.error == "not_connected"
