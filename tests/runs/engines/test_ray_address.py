"""A cluster that does not answer is an error with advice, and no wait without an end."""

import socket
import time

import pytest

from rankformer.errors import SettingsError
from rankformer.runs.engines.ray_address import expect_an_answer
from rankformer.runs.engines.ray_engine import connected
from rankformer.runs.settings import RunSettings


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "localhost:{}", "ray://127.0.0.1:{}"])
def test_a_port_at_which_nothing_listens(closed_port, form):
    pytest.importorskip("ray", reason="needs Ray")
    address = form.format(closed_port)
    began = time.monotonic()
    with (
        pytest.raises(SettingsError, match=f"No cluster of Ray answers at {address}") as refused,
        connected(RunSettings(engine="ray", address=address)),
    ):
        pass
    assert "--address" in refused.value.fix
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("address", ["no.such.host.invalid:6379", "127.0.0.1:99999", "a..b:1"])
def test_names_and_numbers_that_are_none(address):
    with pytest.raises(SettingsError, match="No cluster of Ray answers"):
        expect_an_answer(address)


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_where_something_listens_ray_is_asked(listener, form):
    expect_an_answer(form.format(listener))


@pytest.mark.parametrize("address", ["local", "head"])
def test_what_names_no_port_is_left_to_ray(address):
    expect_an_answer(address)
