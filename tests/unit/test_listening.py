"""Sockets of one or several addresses, and what is said where there are none."""

import socket
from collections.abc import Sequence
from contextlib import closing

import pytest

from handlers.http.listening import CannotListen, open_sockets, split_hosts


def addresses(hosts: Sequence[str], port: int = 0) -> list[tuple[str, int]]:
    opened = open_sockets(hosts, port)
    try:
        return [each.getsockname()[:2] for each in opened]
    finally:
        for each in opened:
            each.close()


def test_several_addresses_share_one_port() -> None:
    found = addresses(["127.0.0.1", "127.0.0.2"])
    assert [host for host, _ in found] == ["127.0.0.1", "127.0.0.2"]
    assert len({port for _, port in found}) == 1


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="there is no IPv6")
def test_all_addresses_of_both_kinds_go_together() -> None:
    found = addresses(split_hosts("0.0.0.0, ::"))
    assert [host for host, _ in found] == ["0.0.0.0", "::"]
    assert len({port for _, port in found}) == 1


def test_a_port_that_is_taken_is_named() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen, match=f"port {port} of 127.0.0.1 is taken"):
            addresses(["127.0.0.1"], port)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "300.0.0.1", "a" * 70, "192.0.2.1"])
def test_a_host_that_is_not_this_machine_s_is_named(host: str) -> None:
    with pytest.raises(CannotListen, match=host):
        addresses([host])


def test_nothing_is_left_open_where_one_address_is_wrong() -> None:
    (_, port), *_ = addresses(["127.0.0.1"])
    with pytest.raises(CannotListen):
        addresses(["127.0.0.1", "192.0.2.1"], port)
    assert addresses(["127.0.0.1"], port) == [("127.0.0.1", port)]
