"""Somebody who receives webhooks, and answers as they are told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import stripe


class Receiver:
    """Keeps what comes: bodies and signatures. `status` is what it answers next."""

    def __init__(self) -> None:
        self.url = ""
        self.status = 200
        self.got: list[tuple[bytes, str]] = []
        self.came = threading.Condition()

    def take(self, body: bytes, signature: str) -> int:
        """One more delivery."""
        with self.came:
            self.got.append((body, signature))
            self.came.notify_all()
        return self.status

    def wait_for(self, count: int) -> None:
        """Wait until so many have come."""
        with self.came:
            assert self.came.wait_for(lambda: len(self.got) >= count, 20), len(self.got)

    def events(self, secret: str) -> list[Any]:
        """What came, each checked by Stripe's own function, however long ago it was signed."""
        return [
            stripe.Webhook.construct_event(body, signature, secret, tolerance=None)  # type: ignore[arg-type]
            for body, signature in self.got
        ]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver on a port of its own."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = receiver.take(body, self.headers["Stripe-Signature"])
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}/hooks"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
