"""Whether a cluster of Ray answers at an address: where none does, Ray waits without a word."""

import socket
from collections.abc import Iterator

from rankformer.errors import SettingsError

_SECONDS_TO_ANSWER = 10.0
_OF_CLIENTS = "ray://"


def expect_an_answer(address: str) -> None:
    """Refuse an address at which nothing listens.

    Raises
    ------
    SettingsError
        If no connection can be made, within some seconds.
    """
    failures = []
    for host, port in _places(address):
        try:
            with socket.create_connection((host, port), timeout=_SECONDS_TO_ANSWER):
                return
        # Names and numbers that are none raise errors of other kinds.
        except (OSError, OverflowError, UnicodeError) as error:
            failures.append(str(error))
    if failures:
        raise SettingsError(
            f"No cluster of Ray answers at {address}: {failures[0]}.",
            "The address of a cluster that runs, such as head:6379, which this machine can reach.",
            "Check address (--address) or RAY_ADDRESS, and look at the cluster with `ray status` "
            "on its head.",
        )


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
