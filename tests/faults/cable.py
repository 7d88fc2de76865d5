"""The network between one hospital and the gateway: a TCP forwarder that can be cut and can lose an answer."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from typing import Any

_SETTLED_S = 1.0


class Cable:
    """Listens on `port` and forwards to the gateway's. A daemon thread; `close` ends it."""

    def __init__(self, gateway_port: int) -> None:
        self._gateway_port = gateway_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._selector = selectors.DefaultSelector()
        self._peer: dict[socket.socket, tuple[socket.socket, bool]] = {}
        self._born: dict[socket.socket, float] = {}
        self._cut = threading.Event()
        self._closed = threading.Event()
        self._lose_bytes = 0
        self.lost = threading.Event()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Nothing goes through either way, and nobody is told: packets are kept back."""
        self._cut.set()

    def mend(self) -> None:
        """What was kept back goes on, as TCP sends it again."""
        self._cut.clear()

    def lose_answer(self, longer_than_bytes: int) -> None:
        """Of the next answer that is so long, no byte arrives, and its connection breaks.

        A connection that is being made has long answers, too: certificates. Those are let through.
        """
        self.lost.clear()
        self._lose_bytes = longer_than_bytes

    def close(self) -> None:
        self._closed.set()
        self._thread.join(5)
        for one in (*self._peer, self._listener):
            one.close()
        self._selector.close()

    def _carry(self) -> None:
        while not self._closed.is_set():
            if self._cut.is_set():
                self._closed.wait(0.05)
                continue
            for key, _ in self._selector.select(0.1):
                if key.fileobj is self._listener:
                    self._connect()
                elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._peer:
                    self._forward(key.fileobj)

    def _connect(self) -> None:
        hospital, _ = self._listener.accept()
        try:
            gateway = socket.create_connection(("127.0.0.1", self._gateway_port), 5)
        except OSError:
            hospital.close()
            return
        for one, other, from_gateway in ((hospital, gateway, False), (gateway, hospital, True)):
            self._peer[one], self._born[one] = (other, from_gateway), time.monotonic()
            self._selector.register(one, selectors.EVENT_READ)

    def _forward(self, one: socket.socket) -> None:
        other, from_gateway = self._peer[one]
        try:
            part: Any = one.recv(1 << 16)
            settled = time.monotonic() - self._born[one] > _SETTLED_S
            if from_gateway and settled and self._lose_bytes and len(part) > self._lose_bytes:
                self._lose_bytes, part = 0, b""
                self.lost.set()
            if part:
                other.sendall(part)
        except OSError:
            part = b""
        if not part:
            for end in (one, other):
                if self._peer.pop(end, None) is not None:
                    self._selector.unregister(end)
                    del self._born[end]
                end.close()
