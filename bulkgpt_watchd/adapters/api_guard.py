"""
Refuse to connect to addresses that a result link must not lead to.

A link comes from outside. It must not make us fetch from the machine itself, its network or a cloud's metadata
service. The check stands where the socket is made, with the address that will be connected to: so a literal, a name,
a redirect and a name that resolves differently the second time all pass it.
Source: OWASP, Server Side Request Forgery Prevention; RFC 6890 and the registries of special addresses.
"""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from aiohttp import AddrInfoType

NAT64 = IPv6Network("64:ff9b::/96")
"""Carries an IPv4 address in its last four bytes (RFC 6052)."""

LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
"""Carries IPv4 addresses in ways that only its network knows (RFC 8215)."""


class AddressRefused(OSError):
    """Say that an address is not one to fetch a result from."""

    def __init__(self) -> None:
        # One text for all addresses of a name: the connector shows a text only where they all agree on it.
        super().__init__(errno.EACCES, "it leads to a private or local address")


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Tell whether an address lies in the open internet; one that carries an IPv4 address is as good as that."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in NAT64:
            inner = IPv4Address(int(address) & 0xFFFF_FFFF)
        if inner is not None:
            return is_public(inner)
        if address in LOCAL_NAT64 or address.is_site_local:
            return False
    # is_global alone lets multicast and some reserved addresses through.
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def is_public_literal(host: str) -> bool:
    """Tell whether a URL's host is anything but the literal of an address that is not public."""
    try:
        return is_public(ip_address(host.strip("[]").partition("%")[0]))
    except ValueError:
        return True


def public_socket(addr_info: AddrInfoType) -> socket.socket:
    """
    Make a socket to connect to a public address.

    Errors: AddressRefused.
    """
    family, kind, protocol, _, address = addr_info
    if not is_public(ip_address(address[0].partition("%")[0])):
        raise AddressRefused
    return socket.socket(family, kind, protocol)
