"""What an owner can set, and where from: one table that `--help` and the README show.

A setting is taken from the command line, else from the environment (`MARQUEE_<NAME>`), else
from the TOML file that `--config` names, else from the defaults here.
"""

import difflib
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta

from domain.common.rate_limiter import RequestRate, parse_rate
from store.sqlite.events.event_retention import MIN_RETENTION_DAYS

ENVIRONMENT_PREFIX = "MARQUEE_"
# kubernetes.io/docs/concepts/services-networking/service/#environment-variables
SERVICE_LINK = re.compile(
    r"MARQUEE_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
SERVICE_PORT = re.compile(r"MARQUEE_(\w+_)?PORT")
SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://\S+:\d+")
PROGRAM_FOLDER = Path(__file__).parents[1]


# Whether this is the one file that `make dist` makes, and how its user calls this program.
IS_SINGLE_FILE = hasattr(sys, "frozen")


def _program_command() -> str:
    """How this program is called from where its user is."""
    if IS_SINGLE_FILE:
        return "marquee"
    python, program = Path(sys.executable), PROGRAM_FOLDER / "server.py"
    if PROGRAM_FOLDER.samefile("."):
        program = program.relative_to(PROGRAM_FOLDER)
        python = (
            python.relative_to(PROGRAM_FOLDER) if python.is_relative_to(PROGRAM_FOLDER) else python
        )
    return shlex.join((str(python), str(program)))


PROGRAM_COMMAND = _program_command()
Bytes = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]


def command_line(words: str, data: Path | str) -> str:
    """A command to be typed, for the installation in the folder `data` and no other one."""
    return f"{PROGRAM_COMMAND} {words} --data {shlex.quote(str(Path(data).absolute()))}"


class SettingError(ValueError):
    """A setting that cannot be used; the message names it, its source and what would be right."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All settings, typed; a description is what people read of it."""

    host: Annotated[str, Meta(description="address to listen on; 0.0.0.0 for every one")] = (
        "127.0.0.1"
    )
    port: Annotated[int, Meta(ge=0, le=65535, description="port; 0 takes a free one")] = 8000
    data: Annotated[str, Meta(description="folder that holds all state")] = "data"
    sample: Annotated[bool, Meta(description="fill an empty data folder with a sample")] = False
    traffic: Annotated[
        bool, Meta(description="play a small audience on the sample's app for it")
    ] = True
    tz: Annotated[str, Meta(description="time zone of the slots, by its IANA name")] = "UTC"
    live_figures: Annotated[
        bool, Meta(description="let clicks and conversions here count beside imported ones")
    ] = False
    tls_cert: Annotated[str, Meta(description="certificate chain (PEM); turns TLS on")] = ""
    tls_key: Annotated[str, Meta(description="private key (PEM) of the certificate")] = ""
    hsts_seconds: Annotated[
        int,
        Meta(
            ge=0,
            description="how long browsers are to come over TLS alone, told where it is on; "
            "0: not told",
        ),
    ] = 31_536_000
    proxies: Annotated[
        str,
        Meta(description="proxies (addresses or networks, by comma) that may name the client"),
    ] = ""
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="least level logged")
    ] = "info"
    log_format: Annotated[
        Literal["text", "json"], Meta(description="form of the lines on stderr")
    ] = "text"
    access_log: Annotated[bool, Meta(description="log every request (path, never a query)")] = False
    max_connections: Annotated[
        int, Meta(ge=1, description="connections in all; one more is answered 503")
    ] = 12_000
    max_requests: Annotated[
        int, Meta(ge=0, description="requests on one connection; 0 for no limit")
    ] = 0
    max_line: Annotated[Bytes, Meta(description="bytes of a request's first line")] = 16_384
    max_headers: Annotated[Bytes, Meta(description="bytes of a request's headers")] = 16_384
    max_body: Annotated[
        Bytes, Meta(description="bytes of a request's body, also of a JSON array of events")
    ] = 262_144
    header_seconds: Annotated[Seconds, Meta(description="time a request's head may take")] = 10.0
    body_seconds: Annotated[Seconds, Meta(description="time a request's body may take")] = 20.0
    idle_seconds: Annotated[Seconds, Meta(description="how long a connection may be idle")] = 75.0
    write_seconds: Annotated[
        Seconds, Meta(description="how long a peer may leave an answer unread")
    ] = 20.0
    drain_seconds: Annotated[
        Seconds, Meta(description="how long a stop waits for requests in flight")
    ] = 10.0
    max_batch: Annotated[Bytes, Meta(description="bytes of a body of events in lines (NDJSON)")] = (
        16_777_216
    )
    held_bytes: Annotated[
        int,
        Meta(
            ge=1_048_576,
            description="bytes of bodies that may be held, one client at most half; more is "
            "answered 503",
        ),
    ] = 16_777_216
    queue_bytes: Annotated[
        Bytes, Meta(description="bytes of events that may wait for a commit; more is answered 503")
    ] = 16_777_216
    queue_seconds: Annotated[
        Seconds, Meta(description="how long events may wait before more are answered 503")
    ] = 2.0
    retention_days: Annotated[
        int, Meta(ge=0, description="days for which events are kept, 31 or more; 0 for ever")
    ] = 0
    rate_per_address: Annotated[
        str, Meta(description="requests taken from one address, such as 20/s; none: any number")
    ] = ""
    rate_per_token: Annotated[
        str, Meta(description="requests taken with one secret token, such as 1000/s, 100/m, 9/h")
    ] = ""
    max_upload: Annotated[
        Bytes, Meta(description="bytes of an uploaded campaign folder, packed and unpacked")
    ] = 1_073_741_824
    image_cache: Annotated[Bytes, Meta(description="bytes of banner images kept in memory")] = (
        67_108_864
    )
    upstream: Annotated[
        str,
        Meta(description="server whose /live/toppages/ tells the audience; none: this one's own"),
    ] = ""
    upstream_version: Annotated[
        Literal["legacy", "v3"], Meta(description="form in which it tells it")
    ] = "legacy"
    reading_seconds: Annotated[
        float, Meta(ge=0.2, le=60, description="time between readings of a watched host")
    ] = 5.0
    visit_seconds: Annotated[
        float,
        Meta(ge=5, le=3600, description="how long a pageview or heartbeat tells of a visitor"),
    ] = 60.0
    audience_days: Annotated[
        int, Meta(ge=1, le=400, description="days for which minute averages are kept")
    ] = 8
    rising_score: Annotated[
        float,
        Meta(ge=3, le=100, description="how surprising a gain is that is called rising"),
    ] = 4.0
    loop: Annotated[
        Literal["uvloop", "asyncio"], Meta(description="event loop (asyncio: to look for faults)")
    ] = "uvloop"
    server: Annotated[
        Literal["wire", "tornado"],
        Meta(description="HTTP server (tornado: its own, slower one, to compare)"),
    ] = "wire"

    def zone(self) -> ZoneInfo:
        """The slots' time zone; raises `SettingError` for a name that is none."""
        try:
            return ZoneInfo(self.tz)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise SettingError(
                f"tz: no time zone is named {self.tz!r}; use an IANA name such as Europe/Berlin"
            ) from None

    def trusted(self) -> list[str]:
        """The proxies, one by one; raises `SettingError` for what is no address or network."""
        named = [each.strip() for each in self.proxies.split(",") if each.strip()]
        for each in named:
            try:
                _ = each == "unix" or ip_network(each)
            except ValueError as error:
                raise SettingError(f"proxies: {error}; give such as 10.0.0.7,10.1.0.0/16") from None
        return named

    def rates(self) -> tuple[RequestRate | None, RequestRate | None]:
        """The rates by address and by token; raises `SettingError` for what is none."""
        found = []
        for name in ("rate_per_address", "rate_per_token"):
            said: str = getattr(self, name)
            try:
                found.append(parse_rate(said) if said else None)
            except ValueError as error:
                raise SettingError(f"{name}: {error}") from None
        by_address, by_token = found
        return by_address, by_token

    def source(self) -> str:
        """The upstream's address, empty for none; raises `SettingError` for what is none."""
        said = self.upstream.strip().rstrip("/")
        try:
            found = urlsplit(said)
            right = found.scheme in ("http", "https") and found.hostname and (found.port or 1)
            # It is told in notes and kept with what was read: no place for a password.
            right = right and "@" not in found.netloc
        except ValueError:
            right = False
        if said and (not right or found.query or found.fragment):
            raise SettingError(
                f"upstream: {self.upstream!r} is no address; give such as https://api.example.com"
            )
        return said


def refuse_passphrase() -> str:
    """What OpenSSL is told instead of asking at the terminal for the pass phrase of a key."""
    raise SettingError("tls_key: it has a pass phrase, which nobody could give at a start")


@cache
def settings_table() -> tuple[tuple[str, type[Any], Any, str, tuple[str, ...]], ...]:
    """Each setting as (name, type, default, description, choices)."""
    return tuple(_setting_rows())


def _setting_rows() -> Iterator[tuple[str, type[Any], Any, str, tuple[str, ...]]]:
    for field in msgspec.inspect.type_info(Settings).fields:  # type: ignore[attr-defined]
        kind, description = field.type, ""
        if isinstance(kind, msgspec.inspect.Metadata):
            description = (kind.extra_json_schema or {}).get("description", "")
            kind = kind.type
        literal = isinstance(kind, msgspec.inspect.LiteralType)
        choices = tuple(map(str, kind.values)) if literal else ()
        yield field.name, type(field.default), field.default, description, choices


SETTING_NAMES = tuple(name for name, *_ in settings_table())


def resolve_settings(
    line: Mapping[str, Any], environ: Mapping[str, str], config: str | None
) -> Settings:
    """Settings from their sources, the first of which wins; raises `SettingError`.

    `line` holds what the command line said (and nothing else), `config` is a file's path.
    """
    found: dict[str, Any] = {}
    for source, values in (
        (f"{config}", _from_file(config) if config else {}),
        ("the environment", _from_environment(environ)),
        ("the command line", line),
    ):
        for name, value in values.items():
            _validate(name, value, source)
            found[name] = value
    settings = msgspec.convert(found, Settings, strict=False)
    settings.zone()
    settings.trusted()
    settings.rates()
    if 0 < settings.retention_days < MIN_RETENTION_DAYS:
        raise SettingError(
            f"retention_days: must be {MIN_RETENTION_DAYS} or more (monthly active users look back "
            "30 days), or 0 to keep events for ever"
        )
    if 2 * settings.max_body > settings.held_bytes:
        raise SettingError(
            f"held_bytes = {settings.held_bytes}: must be at least twice max_body "
            f"({settings.max_body}), as one client may hold no more than half of it"
        )
    settings.source()
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise SettingError("tls_cert and tls_key go together: give both, or neither")
    return settings


def _from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    linked = service_links(environ)
    for each in environ:
        name = each.removeprefix(ENVIRONMENT_PREFIX).lower()
        # Names that resemble no setting may belong to other programs.
        if each.startswith(ENVIRONMENT_PREFIX) and name not in SETTING_NAMES and each not in linked:
            for near in difflib.get_close_matches(name, SETTING_NAMES, 1, 0.85):
                raise SettingError(
                    f"there is no {each}; did you mean {ENVIRONMENT_PREFIX}{near.upper()}?"
                )
    named = {name: ENVIRONMENT_PREFIX + name.upper() for name in SETTING_NAMES}
    return {
        name: environ[variable]
        for name, variable in named.items()
        if variable in environ and variable not in linked
    }


def service_links(environ: Mapping[str, str]) -> list[str]:
    """Return the variables that Kubernetes or `docker --link` set for a service named marquee.

    `MARQUEE_PORT` is one of them only if its value is an address such as `tcp://10.0.0.1:8000`;
    services whose names begin with "marquee-" have such variables, too.
    """
    return [
        name
        for name, value in environ.items()
        if SERVICE_LINK.fullmatch(name)
        or (SERVICE_PORT.fullmatch(name) and SERVICE_ADDRESS.fullmatch(value.strip()))
    ]


def _from_file(path: str) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise SettingError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"{path}: is not TOML: {error}") from None


def _validate(name: str, value: Any, source: str) -> None:
    if name not in SETTING_NAMES:
        near = difflib.get_close_matches(name, SETTING_NAMES, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise SettingError(f"{source}: there is no setting {name!r}{hint}")
    try:
        msgspec.convert({name: value}, Settings, strict=False)
    except msgspec.ValidationError as error:
        reason = str(error).rsplit(" - at `", 1)[0]
        raise SettingError(f"{source}: {name} = {value!r}: {reason}") from None
