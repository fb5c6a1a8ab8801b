"""The address on which a server listens, and the addresses and origins by which it is reached."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from oga_core.errors import InputError, shorten

ADDRESS = "127.0.0.1"
PORT = 8501
ORIGINS = "OGA_ORIGINS"
"""Environment variable: origins of tunnels and proxies before the server, beside its own, separated by blanks."""
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Addresses that mean every address of a machine, and where it reaches itself on them."""
_PORTS = {"http": 80, "https": 443}
HOST_NAME = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)


@dataclass(frozen=True)
class Place:
    """The address on which a server listens, and its names there.

    Attributes
    ----------
    address
        The IP address, in its usual form.
    host
        In the URL.
    hosts
        Names by which it is reached, beside the address.
    """

    address: str
    host: str
    hosts: tuple[str, ...]


def find_place(address: str, port: int, hosts: Sequence[str] = ()) -> Place:
    """Return where a server would listen.

    Raises
    ------
    InputError
        If port, address or a name is none, or the server could not listen there.
    """
    if not 0 < port < 1 << 16:
        raise InputError(f"port {port}: a port is a number from 1 to 65535")
    for host in hosts:
        if not re.fullmatch(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+", host):
            raise InputError(f"host {host!r}: a name such as gpu7.example.org is needed, without port or asterisk")
    found = _look_up(address)
    if found[0] in EVERYWHERE and not hosts:
        raise InputError(f"address {address} is all of this machine; say by which name it is reached (--host NAME)")
    _check_free(found[0], port)
    name = [] if _ip(address) else [address]
    # A name with several addresses may lead a browser to one of them where another program listens.
    host = hosts[0] if hosts else address if name and len(found) == 1 else found[0]
    return Place(found[0], host, (*hosts, *name))


def _look_up(address: str) -> list[str]:
    """Return the IP addresses, in their usual form, of an address or a name, IPv4 first.

    Raises
    ------
    InputError
        If it has none. Short forms such as 127.1, which a browser or a proxy may read in another way, have none.
    """
    if (ip := _ip(address)) is not None:
        return [ip]
    refused = f"the dashboard cannot listen on {shorten(address)!r}: "
    try:
        socket.inet_aton(address)
    except (OSError, ValueError):
        pass
    else:
        raise InputError(refused + "write an IP address in full, such as 127.0.0.1")
    if not HOST_NAME.fullmatch(address):
        raise InputError(refused + "an IP address or a host name is needed; the port is given by --port")
    try:
        found = {_ip(str(place[0])): None for *_, place in socket.getaddrinfo(address, None, type=socket.SOCK_STREAM)}
    except (OSError, ValueError) as error:
        raise InputError(refused + (getattr(error, "strerror", None) or "it is no host name")) from error
    known = sorted((ip for ip in found if ip), key=lambda ip: ":" in ip)
    if not known:
        raise InputError(refused + "it has no address that a browser can open")
    return known


def _ip(address: str) -> str | None:
    """An IP address in its usual form: without brackets or a mapping into IPv6; None for what is none."""
    inner = address[1:-1] if address.startswith("[") and address.endswith("]") and ":" in address else address
    try:
        ip = ipaddress.ip_address(inner)
    except ValueError:
        return None
    if getattr(ip, "scope_id", None):  # which no browser can open
        return None
    return str(getattr(ip, "ipv4_mapped", None) or ip)


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches a server on this address; for a name, on each of its addresses."""
    try:
        found = _look_up(address)
    except InputError:
        return False
    return all(ipaddress.ip_address(ip).is_loopback for ip in found)


def origin_of(url: str) -> str:
    """Return the origin of an URL as browsers write it: ``scheme://host``, with the port where it is not the scheme's own.

    Raises
    ------
    InputError
        If it is no address of a web page, or has a path.
    """
    message = f"origin {url!r}: the address of a page is needed, such as https://oga.example.org or http://localhost:9000"
    try:
        split = urlsplit(url)
        host, port = split.hostname, split.port
    except ValueError as error:
        raise InputError(message) from error
    plain = re.fullmatch(r"https?://[A-Za-z0-9._:\[\]-]+/?", url, re.IGNORECASE)
    if plain is None or not host or "@" in split.netloc:
        raise InputError(message)
    shown = f"[{host}]" if ":" in host else host
    return f"{split.scheme}://{shown}" + ("" if port in (None, _PORTS[split.scheme]) else f":{port}")


def list_origins() -> list[str]:
    """Return the origins that were named when this server was started."""
    return os.environ.get(ORIGINS, "").split()


def free_port() -> int:
    """A port of this machine that nobody uses."""
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])


def _check_free(address: str, port: int) -> None:
    """Refuse what the server could not listen on."""
    try:
        with socket.create_connection((EVERYWHERE.get(address, address), port), timeout=2):
            raise InputError(f"port {port} is in use; choose another (--port)")
    except OSError:
        pass
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            if sys.platform != "win32":  # where it would allow a second server
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
    except OSError as error:
        raise InputError(f"the dashboard cannot listen on {address}, port {port}: {error.strerror}") from error
