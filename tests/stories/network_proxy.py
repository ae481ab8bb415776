"""A way between a site and its server that can be slow, break, be cut, and fall silent."""

from __future__ import annotations

import random
import socket
import threading
import time
from contextlib import suppress

_PIECE = 1 << 16
_LOOK_S = 0.2


class Proxy:
    """Forwards TCP connections of the loopback.

    Args:
        port: where to.
        delay_s: for how long each piece is held up.
        breaks: the chance that a connection breaks at a piece.
        seed: of those chances.

    While ``cut`` is set, connections are closed and new ones refused. ``silence`` makes those that are
    open silent for good, without a word to either end, and new ones wait until ``heal``.
    """

    def __init__(self, port: int, delay_s: float = 0.0, breaks: float = 0.0, seed: int = 0) -> None:
        self._to = port
        self._delay, self._breaks, self._draw = delay_s, breaks, random.Random(seed)
        self._open: set[socket.socket] = set()
        self._dead: set[socket.socket] = set()
        self._cut = self._silent = self._over = False
        self.broken = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def cut(self) -> None:
        """Break every connection, and refuse new ones."""
        self._cut = True
        for end in list(self._open):
            _close(end)

    def silence(self) -> None:
        """Let nothing through any more that is open now, and tell nobody."""
        self._silent = True
        self._dead |= self._open

    def heal(self) -> None:
        """Let new connections through."""
        self._cut = self._silent = False

    def close(self) -> None:
        """End everything."""
        self._over = True
        self.cut()
        self._listening.close()

    def _serve(self) -> None:
        while not self._over:
            try:
                come, _ = self._listening.accept()
            except OSError:
                return
            if self._cut:
                _close(come)
                continue
            threading.Thread(target=self._connect, args=(come,), daemon=True).start()

    def _connect(self, come: socket.socket) -> None:
        while self._silent and not self._over:
            time.sleep(_LOOK_S)
        try:
            to = socket.create_connection(("127.0.0.1", self._to), timeout=5)
        except OSError:
            _close(come)
            return
        to.settimeout(None)
        pair = {come, to}
        self._open |= pair
        for source, sink in ((come, to), (to, come)):
            threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(_PIECE):
                if self._delay:
                    time.sleep(self._delay)
                while source in self._dead and not self._over:
                    time.sleep(_LOOK_S)
                if self._draw.random() < self._breaks:
                    self.broken += 1
                    break
                sink.sendall(piece)
        for end in (source, sink):
            self._open.discard(end)
            _close(end)


def _close(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
