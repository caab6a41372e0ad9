"""Settings that contradict each other or expose the server."""

from collections.abc import Iterator
from ipaddress import ip_address, ip_network

from app.settings import Settings
from commands.doctor.finding import DoctorFinding, note, passed, problem

# Concurrent requests of a browser that opens a page.
MIN_ADDRESS_RATE = 10


def check_settings(settings: Settings) -> Iterator[DoctorFinding]:
    """Check combinations of settings."""
    contradictions = list(_contradictions(settings))
    yield from contradictions or [passed("settings", "no contradictions")]
    yield from _exposure(settings)


def _contradictions(settings: Settings) -> Iterator[DoctorFinding]:
    if settings.max_body > settings.max_batch:
        message = f"max_body ({settings.max_body:,}) exceeds max_batch ({settings.max_batch:,})"
        yield problem("settings", message, "raise max_batch, which limits all bodies of events")
    if settings.max_body > settings.queue_bytes // 4:
        message = (
            f"queue_bytes ({settings.queue_bytes:,}) holds less than four bodies of max_body bytes"
        )
        yield problem("settings", message, "raise queue_bytes, or lower max_body")
    if settings.body_seconds > settings.idle_seconds:
        message = "body_seconds exceeds idle_seconds"
        yield note("settings", message, "raise idle_seconds")
    if settings.header_seconds > settings.body_seconds:
        message = "header_seconds exceeds body_seconds"
        yield note("settings", message, "lower header_seconds")
    if settings.server == "tornado" or settings.loop == "asyncio":
        message = "server or loop is set to a slow alternative for comparison or debugging"
        yield note(
            "settings", message, "remove the settings; the defaults are several times faster"
        )
    if settings.log_level == "debug":
        yield note("settings", "log_level is debug, which logs many lines", "remove the setting")
    address = settings.rate_limits()[0]
    if address is not None and address.most < MIN_ADDRESS_RATE:
        message = f"rate_per_address allows {address.most} requests at once, but a page sends more"
        yield problem(
            "settings",
            message,
            f"allow {MIN_ADDRESS_RATE} or more with a longer period, such as 600/m",
        )
    if address is not None and not settings.proxies and not _accepts_remote_clients(settings.host):
        message = "rate_per_address is set, but all clients behind the proxy share one address"
        yield problem("settings", message, "set the proxy (--proxies 127.0.0.1)")
    if settings.access_log:
        message = "access_log is on, which slows the server down"
        yield note("settings", message, "remove the setting, or log in the proxy")


def _exposure(settings: Settings) -> Iterator[DoctorFinding]:
    open_networks = [
        each for each in settings.trusted_proxies() if each != "unix" and _covers_everyone(each)
    ]
    if open_networks:
        message = f"{open_networks[0]} lets every client forge its address"
        yield problem("proxies", message, "set only the proxy's own address")
    elif (
        not _accepts_remote_clients(settings.host)
        and not settings.proxies
        and not settings.tls_cert
    ):
        message = "no proxy is set, and only this machine can connect"
        yield note("proxies", message, "if there is a proxy, set it: --proxies 127.0.0.1")
    elif _accepts_remote_clients(settings.host) and not settings.proxies and not settings.tls_cert:
        yield problem(
            "proxies",
            f"listens on {settings.host or 'all addresses'} without TLS or a proxy: tokens "
            "are sent unencrypted, or all clients have the proxy's address",
            "set a certificate (--tls-cert, --tls-key) or the proxy (--proxies)",
        )
    elif _accepts_remote_clients(settings.host) and not settings.tls_cert:
        message = "clients that bypass the proxy connect without TLS"
        yield note("proxies", message, "listen only for the proxy: --host 127.0.0.1")
    else:
        yield passed("proxies", settings.proxies or "none; the server terminates TLS")


def _covers_everyone(network: str) -> bool:
    # Two halves cover all addresses as well, so a short prefix counts as everyone.
    parsed = ip_network(network)
    return parsed.prefixlen < (8 if parsed.version == 4 else 16)


def _accepts_remote_clients(host: str) -> bool:
    """Return whether other machines can connect."""
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"
