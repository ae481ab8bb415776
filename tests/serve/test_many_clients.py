"""Many clients at once, some of which are killed: a real server, real sockets, and nothing left behind."""

from __future__ import annotations

import asyncio
import json
import socket
import statistics
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TOKENS = 6
"""Of an answer, at most."""


@dataclass
class Client:
    """Somebody who asks again and again.

    Args:
        number: theirs; every third one is killed before the end of each answer.
        heard: answers so far, whole or not.
        wrong: what should not have come.
    """

    number: int
    heard: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def killed(self) -> bool:
        return self.number % 3 == 0

    def question(self) -> bytes:
        """A request for a stream, as it goes over the line; each of them draws anew."""
        body = {
            "model": ("shops", "shops:north", "shops:south")[self.number % 3],
            "messages": [{"role": "user", "content": f"Question {self.number}, {self.heard}"}],
            "max_tokens": 500 if self.killed else TOKENS,
            "stream": True,
        }
        written = json.dumps(body).encode()
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(written)}\r\n\r\n"
        )
        return head.encode() + written

    async def ask(self, server: Any, until: float) -> None:
        """Ask until then, or until an answer is wrong."""
        while time.monotonic() < until and not self.wrong:
            reader, writer = await asyncio.open_connection(server.host, server.port)
            try:
                writer.write(self.question())
                if self.killed:
                    await self.die(reader, writer)
                else:
                    self.check(await reader.read())
            finally:
                writer.close()
                with suppress(ConnectionError):
                    await writer.wait_closed()
            self.heard += 1

    async def die(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Go without a word, as a process that is killed: in the queue, or within the answer."""
        answer = await reader.readuntil(b"\n\n")
        if not answer.startswith(b"HTTP/1.1 200"):
            self.wrong.append(answer.decode())
        # The first line comes while a request still waits, the second with its first token.
        if self.heard % 2:
            await reader.readuntil(b"data: ")
        line = writer.get_extra_info("socket")
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    def check(self, answer: bytes) -> None:
        """Only a whole stream is right: of status 200, with an end, without an error."""
        head, _, body = answer.partition(b"\r\n\r\n")
        right = head.startswith(b"HTTP/1.1 200") and b"data: [DONE]" in body
        if not right or b'"finish_reason": "' not in body or b'"error"' in body:
            self.wrong.append(answer.decode(errors="replace")[:2000])


async def load(server: Any, count: int, seconds: float) -> list[Client]:
    """So many clients for so long."""
    clients = [Client(number) for number in range(count)]
    until = time.monotonic() + seconds
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(client.ask(server, until))
    return clients


def settle(done: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not done():
        assert time.monotonic() < until
        time.sleep(0.05)


def require_fair(clients: list[Client]) -> None:
    """Of those who hear answers to their end, the slowest has about half of what is usual, or more."""
    heard = [client.heard for client in clients if not client.killed]
    assert min(heard) + 1 >= statistics.median(heard) / 2, heard


def require_nothing_left(server: Any, descriptors: int) -> None:
    """Nobody is answered any more, and every socket is closed."""

    def idle() -> bool:
        told = server.gauges()
        return told["sotto_requests_running"] == told["sotto_requests_waiting"] == 0

    settle(idle)
    settle(lambda: server.descriptors() <= descriptors)


@pytest.fixture(scope="module")
def server(
    served: ModuleType, shops: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    with served.serving(shops, tmp_path_factory.mktemp("load") / "log") as found:
        # What a first request opens stays open.
        asyncio.run(load(found, 2, 0.1))
        require_nothing_left(found, found.descriptors())
        yield found


def test_sixteen_clients_are_answered_and_the_killed_leave_nothing(server: Any) -> None:
    before = server.descriptors()
    clients = asyncio.run(load(server, 16, 3))
    assert [client.wrong for client in clients if client.wrong] == []
    require_fair(clients)
    require_nothing_left(server, before)


@pytest.mark.slow
def test_sixty_four_clients_are_answered_for_a_minute_in_bounded_memory(server: Any) -> None:
    before, resident = server.descriptors(), list[int]()

    async def watched() -> list[Client]:
        asking = asyncio.create_task(load(server, 64, 60))
        await asyncio.sleep(10)
        resident.append(server.resident())
        clients = await asking
        resident.append(server.resident())
        return clients

    clients = asyncio.run(watched())
    assert [client.wrong for client in clients if client.wrong] == []
    require_fair(clients)
    require_nothing_left(server, before)
    assert resident[1] <= 1.15 * resident[0], resident
