"""Calls over HTTP: every way in which an answer can fail to come is told, with limits on each."""

from __future__ import annotations

import ssl
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip("flwr")

from flwr.proto.node_pb2 import Node

from sottovoce.errors import ConfigError
from sottovoce.run.certs import make_certificates
from sottovoce.run.flower.calls import Caller, CallError, tls_of_ca, tls_of_certificate
from sottovoce.run.flower.guard import LIMIT_BYTES

GOOD = Node(node_id=7).SerializeToString()


class Server:
    """Answers every POST with what it is told to, over TLS if it has a certificate."""

    def __init__(self, folder=None):
        self.status, self.body, self.headers, self.pause = 200, GOOD, {}, 0.0
        self.seen = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(handler):
                body = handler.rfile.read(int(handler.headers["content-length"]))
                self.seen.append((handler.path, dict(handler.headers), body))
                time.sleep(self.pause)
                handler.send_response_only(self.status)
                for name, value in ({"content-length": len(self.body)} | self.headers).items():
                    handler.send_header(name, str(value))
                handler.end_headers()
                handler.wfile.write(self.body)

            def do_GET(handler):
                handler.send_error(self.status)

            def log_message(self, *_):
                return

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.handle_error = lambda *_: None
        if folder is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(folder / "server.pem", folder / "server.key")
            self.http.socket = tls.wrap_socket(self.http.socket, server_side=True)
        self.address = f"127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server():
    found = Server()
    yield found
    found.close()


@pytest.fixture
def caller(server):
    found = Caller(server.address, None, proxies=False, pause_seconds=5)
    yield found
    found.close()


def failed(caller):
    with pytest.raises(CallError) as caught:
        caller.call("/x", Node(), Node, {})
    return caught.value


def test_a_message_goes_out_and_one_comes_back(server, caller):
    server.headers = {"sottovoce-seen": "5"}
    found, headers = caller.call("/x", Node(node_id=9), Node, {"who": "me"})
    assert (found.node_id, headers["sottovoce-seen"]) == (7, "5")
    [(path, sent, body)] = server.seen
    assert (path, body) == ("/x", Node(node_id=9).SerializeToString())
    assert (sent["who"], sent["content-type"]) == ("me", "application/protobuf")
    # Nothing that unfolds while it is read.
    assert sent["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("status", "passes"), [(401, False), (403, False), (500, True), (503, True)]
)
def test_a_refusal_is_told_with_what_was_said(server, caller, status, passes):
    server.status, server.body = status, b"because \x1b[31m\n of " + bytes(1000)
    error = failed(caller)
    assert (error.status, error.passes) == (status, passes)
    assert error.detail.startswith("because  [31m  of")
    assert error.detail.isprintable()
    assert len(error.detail) <= 500


@pytest.mark.parametrize("ahead", [-30, 0, 30])
def test_a_refusal_tells_how_far_the_clocks_are_apart(server, caller, ahead):
    server.status, server.headers = 401, {"date": formatdate(time.time() - ahead, usegmt=True)}
    assert failed(caller).clock_ahead == pytest.approx(ahead, abs=2)
    for date in ("", "yesterday"):
        server.headers = {"date": date}
        assert failed(caller).clock_ahead is None


def test_an_answer_that_is_none_is_an_error(server, caller):
    server.body = b"\xff\xff\xff"
    assert failed(caller).detail == "an answer that cannot be read"


def test_an_answer_over_the_limit_is_given_up(server, caller):
    server.body = bytes(LIMIT_BYTES + 1)
    assert failed(caller).detail == "an answer over the limit"


def test_who_does_not_answer_in_time_is_given_up(server):
    server.pause = 1.0
    caller = Caller(server.address, None, proxies=False, pause_seconds=0.2)
    start = time.monotonic()
    error = failed(caller)
    assert time.monotonic() - start < 0.9
    assert (error.status, error.passes) == (0, True)
    caller.close()


def test_who_is_not_there_is_an_error_that_passes(server):
    caller = Caller("127.0.0.1:1", None, proxies=False, pause_seconds=1)
    assert failed(caller).passes
    assert not caller.healthy("/health")
    caller.close()


def test_health_is_the_status_200(server, caller):
    assert caller.healthy("/health")
    server.status = 404
    assert not caller.healthy("/health")


def test_proxies_of_the_environment_are_used_only_if_wanted(server, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    for proxies in (False, True):
        caller = Caller(server.address, None, proxies=proxies, pause_seconds=1)
        if proxies:
            assert failed(caller).status == 0
        else:
            assert caller.call("/x", Node(), Node, {})
        caller.close()


# Certificates


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = tmp_path_factory.mktemp("certs")
    for name in ("ours", "others"):
        make_certificates(made / name, "federation.example.org")
    return made


@pytest.fixture
def secured(folders):
    found = Server(folders / "ours")
    yield found
    found.close()


def outcome(server, tls):
    caller = Caller(server.address, tls, proxies=False, pause_seconds=5)
    try:
        return caller.call("/x", Node(), Node, {})[0].node_id
    except CallError as error:
        return error.detail
    finally:
        caller.close()


def test_a_certificate_is_checked_by_its_authority(folders, secured):
    assert outcome(secured, tls_of_ca(folders / "ours" / "ca.pem")) == 7
    assert "CERTIFICATE_VERIFY_FAILED" in outcome(secured, tls_of_ca(folders / "others" / "ca.pem"))
    assert "CERTIFICATE_VERIFY_FAILED" in outcome(secured, tls_of_ca(None))


def test_or_by_itself_under_whatever_name(folders, secured, tmp_path):
    """The server's own process knows its certificate, which need not name the loopback."""
    [chain, other] = [tmp_path / name for name in ("chain.pem", "other.pem")]
    ours, others = folders / "ours", folders / "others"
    chain.write_text((ours / "server.pem").read_text() + (ours / "ca.pem").read_text())
    assert outcome(secured, tls_of_certificate(chain)) == 7
    assert "CERTIFICATE_VERIFY_FAILED" in outcome(
        secured, tls_of_certificate(others / "server.pem")
    )
    # Another certificate of the authority that follows in the file is not the same certificate.
    other.write_text((others / "server.pem").read_text() + (ours / "ca.pem").read_text())
    assert "CERTIFICATE_VERIFY_FAILED" in outcome(secured, tls_of_certificate(other))


@pytest.mark.parametrize("opened", [tls_of_ca, tls_of_certificate])
def test_what_is_no_certificate_is_said_so(tmp_path, opened):
    with pytest.raises(ConfigError, match="cannot be used"):
        opened(tmp_path / "missing.pem")
    (tmp_path / "text.pem").write_text("no certificate")
    with pytest.raises(ConfigError, match=r"text\.pem"):
        opened(tmp_path / "text.pem")
