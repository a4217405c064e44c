"""Network addresses: which are public, and which are this machine's own."""

import ipaddress
from typing import Final

_NAT64: Final = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
_IPV4_COMPATIBLE: Final = ipaddress.ip_network("::/96")
_ISATAP_MARK: Final = (0x00005EFE, 0x02005EFE)  # bits 64-95 of an address that embeds IPv4


def is_loopback(host: str) -> bool:
    """Is this host name or address one of this machine only?"""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_public(address: str) -> bool:
    """Is it a public unicast address, also behind every known way of wrapping IPv4 in IPv6?"""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        wrapped = _wrapped_ipv4(parsed)
        if wrapped:
            return all(_is_plainly_public(inner) for inner in wrapped)
    return _is_plainly_public(parsed)


def _is_plainly_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    special = (
        address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address.is_reserved
        or (isinstance(address, ipaddress.IPv6Address) and address.is_site_local)
    )
    return address.is_global and not special


def _wrapped_ipv4(address: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    """Every IPv4 address that a gateway could take this one for."""
    last = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address.sixtofour is not None:
        return [address.sixtofour]
    if address.teredo is not None:
        return list(address.teredo)
    if address in _IPV4_COMPATIBLE or any(address in network for network in _NAT64):
        return [last]
    if (int(address) >> 32) & 0xFFFFFFFF in _ISATAP_MARK:
        return [last]
    return []
