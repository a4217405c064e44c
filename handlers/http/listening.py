"""The sockets that a server listens on, opened before anything else is started."""

import errno
import socket
from collections.abc import Iterable
from typing import Final

_ABSENT: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class CannotListen(Exception):
    """An address cannot be listened on; the message says which and why."""


def split_hosts(host: str) -> list[str]:
    """The addresses of the start option, which separates them with commas."""
    return [each.strip() for each in host.split(",") if each.strip()]


def open_sockets(hosts: Iterable[str], port: int) -> list[socket.socket]:
    """Bound sockets for every address of the hosts, on one port. They do not listen yet.

    Port 0 takes a port that is free on the first address. Raises CannotListen.
    """
    opened: list[socket.socket] = []
    try:
        for host in hosts:
            opened += _sockets_of(host, port)
            port = opened[0].getsockname()[1]
    except BaseException:
        for each in opened:
            each.close()
        raise
    return opened


def _sockets_of(host: str, port: int) -> list[socket.socket]:
    """One for each address of a name. Those that this machine does not have are left out."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        reason = error.strerror if isinstance(error, socket.gaierror) else "no host name"
        raise CannotListen(f"cannot listen on {host}: {reason}; see --host") from None
    opened: list[socket.socket] = []
    refused: OSError | None = None
    for family, _, _, _, address in dict.fromkeys(found):
        own_port = opened[0].getsockname()[1] if opened else port
        try:
            opened.append(_bound(family, str(address[0]), own_port))
        except OSError as error:
            refused = error
            if error.errno not in _ABSENT:
                break
    if not opened or (refused is not None and refused.errno not in _ABSENT):
        for each in opened:
            each.close()
        raise CannotListen(_explain(host, port, refused)) from None
    return opened


def _bound(family: int, address: str, port: int) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:  # so that 0.0.0.0 and :: go together
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind((address, port))
        opened.setblocking(False)
    except OSError:
        opened.close()
        raise
    return opened


def _explain(host: str, port: int, error: OSError | None) -> str:
    where = f"port {port} of {host}"
    match error.errno if error else None:
        case errno.EADDRINUSE:
            return f"{where} is taken (address already in use); choose another with --port"
        case errno.EACCES:
            return f"{where} is kept for privileged programs; choose one above 1023 with --port"
        case errno.EADDRNOTAVAIL:
            return f"{host} is no address of this machine; see --host"
    return f"cannot listen on {where}: {error.strerror if error else 'it has no address'}"
