"""A cluster that does not answer is an error with advice, and no wait without an end."""

import socket
import threading
from contextlib import ExitStack, suppress

import pytest

from rankformer.errors import SettingsError
from rankformer.runs.engines import ray_address
from rankformer.runs.engines.ray_address import expect_an_answer
from rankformer.runs.engines.ray_engine import connected
from rankformer.runs.settings import RunSettings


@pytest.fixture
def listener():
    """Start a server that answers each connection with some bytes, or not at all."""
    stack = ExitStack()

    def start(answer):
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

        def serve():
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    stack.enter_context(connection)
                    connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        return server.getsockname()[1]

    with stack:
        yield start


@pytest.fixture
def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "localhost:{}", "ray://127.0.0.1:{}"])
def test_a_port_at_which_nothing_listens(closed_port, form):
    pytest.importorskip("ray", reason="needs Ray")
    address = form.format(closed_port)
    with (
        pytest.raises(SettingsError, match=f"No cluster of Ray answers at {address}") as refused,
        connected(RunSettings(engine="ray", address=address)),
    ):
        pass
    assert "--address" in refused.value.fix


@pytest.mark.parametrize("address", ["no.such.host.invalid:6379", "127.0.0.1:99999", "a..b:1"])
def test_names_and_numbers_that_are_none(address):
    with pytest.raises(SettingsError, match="No cluster of Ray answers"):
        expect_an_answer(address)


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_where_grpc_answers_ray_is_asked(listener, form):
    port = listener(bytes((0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 255, 255)))
    expect_an_answer(form.format(port))


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"", "timed out"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not Ray"),
        (b"SSH-2.0-x", "not Ray"),
    ],
)
def test_where_something_else_listens(listener, monkeypatch, answer, told):
    """Such as the dashboard of the cluster, or a firewall that takes all connections."""
    monkeypatch.setattr(ray_address, "_SECONDS_TO_ANSWER", 0.3)
    with pytest.raises(SettingsError, match=told):
        expect_an_answer(f"127.0.0.1:{listener(answer)}")


@pytest.mark.parametrize("address", ["local", "head"])
def test_what_names_no_port_is_left_to_ray(address):
    expect_an_answer(address)
