"""Whether a cluster of Ray answers at an address: where none does, Ray waits without a word."""

import os
import socket
from collections.abc import Iterator

from rankformer.errors import SettingsError

_SECONDS_TO_ANSWER = 10.0
_OF_CLIENTS = "ray://"
# Ray speaks gRPC, which is HTTP/2: both sides begin with a frame of settings (RFC 9113, 3.4).
_BEGINNING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_PLACE_OF_KIND, _SETTINGS = 3, 4


def expect_an_answer(address: str) -> None:
    """Refuse an address at which nothing listens, or something that cannot be Ray.

    Raises
    ------
    SettingsError
        If there is no right answer within some seconds.
    """
    failures = []
    for host, port in _places(address):
        try:
            with socket.create_connection((host, port), timeout=_SECONDS_TO_ANSWER) as connection:
                if _may_be_ray(connection):
                    return
            failures.append("something that is not Ray listens there")
        # Names and numbers that are none raise errors of other kinds.
        except (OSError, OverflowError, UnicodeError) as error:
            failures.append(str(error))
    if failures:
        raise SettingsError(
            f"No cluster of Ray answers at {address}: {failures[0]}.",
            "The address of a cluster that runs, such as head:6379, which this machine can reach; "
            "not that of its dashboard.",
            "Check address (--address) or RAY_ADDRESS, and look at the cluster with `ray status` "
            "on its head.",
        )


def _may_be_ray(connection: socket.socket) -> bool:
    # Within TLS the beginning is another one.
    if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
        return True
    connection.sendall(_BEGINNING)
    answer = b""
    while len(answer) <= _PLACE_OF_KIND:
        more = connection.recv(64)
        if not more:
            return False
        answer += more
    return answer[_PLACE_OF_KIND] == _SETTINGS


def _places(address: str) -> Iterator[tuple[str, int]]:
    """Hosts and ports that stand in an address, or that Ray itself would take for it."""
    for each in (address, _as_ray_takes_it(address)):
        host, colon, port = each.removeprefix(_OF_CLIENTS).rpartition(":")
        if colon and port.isdecimal():
            yield host.strip("[]"), int(port)


def _as_ray_takes_it(address: str) -> str:
    """Of ``"auto"`` the cluster that was started last; of this machine another name of it."""
    if address.startswith(_OF_CLIENTS):
        return ""
    try:
        from ray._private.services import canonicalize_bootstrap_address

        return canonicalize_bootstrap_address(address) or ""
    # It is none of what Ray promises to keep; of no address it raises what it comes across.
    except Exception:
        return ""
