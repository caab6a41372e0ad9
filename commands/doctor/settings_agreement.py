"""Settings that each are right, and do not go together."""

from collections.abc import Iterator
from ipaddress import ip_address, ip_network

from app.settings import Settings
from commands.doctor.finding import DoctorFinding, fault, note, ok

# Requests at once of one who opens a page, with what is in it.
MIN_ADDRESS_RATE = 10


def check_settings(settings: Settings) -> Iterator[DoctorFinding]:
    """Where the settings contradict each other, or ask for what nobody should want."""
    found = list(_contradictions(settings))
    yield from found or [ok("settings", "they go together")]
    yield from _exposure(settings)


def _contradictions(settings: Settings) -> Iterator[DoctorFinding]:
    if settings.max_body > settings.max_batch:
        words = f"max_body ({settings.max_body:,}) is more than max_batch ({settings.max_batch:,})"
        yield fault("settings", words, "raise max_batch: it bounds all bodies of events")
    if settings.max_body > settings.queue_bytes // 4:
        words = f"queue_bytes ({settings.queue_bytes:,}) has room for less than four max_body"
        yield fault("settings", words, "raise queue_bytes, or lower max_body")
    if settings.body_seconds > settings.idle_seconds:
        words = "body_seconds is more than idle_seconds: a slow body may take longer than silence"
        yield note("settings", words, "raise idle_seconds")
    if settings.header_seconds > settings.body_seconds:
        words = "header_seconds is more than body_seconds: a head of some bytes may take longer"
        yield note("settings", words, "lower header_seconds")
    if settings.server == "tornado" or settings.loop == "asyncio":
        words = "server or loop is one that is there to compare, or to look for faults"
        yield note("settings", words, "leave them out, and it is several times as fast")
    if settings.log_level == "debug":
        yield note("settings", "log_level is debug: many lines", "leave it out")
    address = settings.rate_limits()[0]
    if address is not None and address.most < MIN_ADDRESS_RATE:
        words = (
            f"rate_per_address lets an address ask {address.most} times at once: a page asks more"
        )
        yield fault(
            "settings", words, f"allow {MIN_ADDRESS_RATE} and more, of a longer time: 600/m"
        )
    if address is not None and not settings.proxies and not _accepts_remote_clients(settings.host):
        words = "rate_per_address is set, and only this machine can connect: all count as one"
        yield fault("settings", words, "name the proxy in front (--proxies 127.0.0.1)")
    if settings.access_log:
        words = "access_log writes a line for each request, which costs much of the speed"
        yield note("settings", words, "leave it out, or log in the proxy")


def _exposure(settings: Settings) -> Iterator[DoctorFinding]:
    everyone = [
        each for each in settings.trusted_proxies() if each != "unix" and _covers_everyone(each)
    ]
    if everyone:
        words = f"{everyone[0]} lets everyone say who the client is"
        yield fault("proxies", words, "name the proxy's own address alone")
    elif (
        not _accepts_remote_clients(settings.host)
        and not settings.proxies
        and not settings.tls_cert
    ):
        words = "none is named, and only this machine can connect"
        yield note("proxies", words, "if a proxy stands in front, name it: --proxies 127.0.0.1")
    elif _accepts_remote_clients(settings.host) and not settings.proxies and not settings.tls_cert:
        yield fault(
            "proxies",
            f"it listens on {settings.host or 'all addresses'} without TLS, and no proxy is named: "
            "tokens travel in the clear, or all clients look like the proxy",
            "give it a certificate (--tls-cert, --tls-key), or name the proxy in front (--proxies)",
        )
    elif _accepts_remote_clients(settings.host) and not settings.tls_cert:
        words = "whoever comes to this machine past the proxy speaks without TLS"
        yield note("proxies", words, "listen where only the proxy comes: --host 127.0.0.1")
    else:
        yield ok("proxies", settings.proxies or "none, and it speaks TLS itself")


def _covers_everyone(network: str) -> bool:
    # Half of all addresses, twice, are all of them.
    found = ip_network(network)
    return found.prefixlen < (8 if found.version == 4 else 16)


def _accepts_remote_clients(host: str) -> bool:
    """Whether others than this machine can connect."""
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"
