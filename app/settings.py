"""All settings with defaults and descriptions; `--help` and the reference are generated from it.

Sources in order of precedence: the command line, the environment (`MARQUEE_<NAME>`), the TOML file
of `--config`, the defaults.
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

# Whether the program runs as the single executable that `make dist` builds.
IS_SINGLE_FILE = hasattr(sys, "frozen")


def _program_command() -> str:
    """Return the command that starts this program from the current working directory."""
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


def command_line(arguments: str, data: Path | str) -> str:
    """Return a shell command for the installation in the folder `data`, for use in messages."""
    return f"{PROGRAM_COMMAND} {arguments} --data {shlex.quote(str(Path(data).absolute()))}"


class SettingError(ValueError):
    """An invalid setting; the message names the setting, its source and the valid values."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All settings; the descriptions are shown in `--help` and in the reference."""

    host: Annotated[str, Meta(description="address to listen on; 0.0.0.0 for all addresses")] = (
        "127.0.0.1"
    )
    port: Annotated[
        int, Meta(ge=0, le=65535, description="port to listen on; 0 selects a free one")
    ] = 8000
    data: Annotated[str, Meta(description="data folder, which holds all state")] = "data"
    sample: Annotated[bool, Meta(description="create demo data in an empty data folder")] = False
    traffic: Annotated[bool, Meta(description="generate demo traffic on the demo app")] = True
    tz: Annotated[str, Meta(description="time zone of the slots (IANA name)")] = "UTC"
    live_stats: Annotated[
        bool,
        Meta(
            description="add clicks and conversions recorded by this server to the imported stats"
        ),
    ] = False
    tls_cert: Annotated[str, Meta(description="certificate chain file (PEM); enables TLS")] = ""
    tls_key: Annotated[str, Meta(description="private key file (PEM) of the certificate")] = ""
    hsts_seconds: Annotated[
        int,
        Meta(
            ge=0,
            description="max-age in seconds of Strict-Transport-Security over TLS; 0 omits it",
        ),
    ] = 31_536_000
    proxies: Annotated[
        str,
        Meta(description="trusted proxies (comma-separated networks) that may name the client"),
    ] = ""
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="minimum level of log lines")
    ] = "info"
    log_format: Annotated[
        Literal["text", "json"], Meta(description="format of the log lines on stderr")
    ] = "text"
    access_log: Annotated[bool, Meta(description="log every request (path without query)")] = False
    max_connections: Annotated[
        int, Meta(ge=1, description="maximum number of connections; more are answered 503")
    ] = 12_000
    max_requests: Annotated[
        int, Meta(ge=0, description="maximum number of requests per connection; 0 for no limit")
    ] = 0
    max_line: Annotated[Bytes, Meta(description="maximum bytes of a request line")] = 16_384
    max_headers: Annotated[Bytes, Meta(description="maximum bytes of the request headers")] = 16_384
    max_body: Annotated[
        Bytes, Meta(description="maximum bytes of a request body, including JSON arrays of events")
    ] = 262_144
    header_seconds: Annotated[
        Seconds, Meta(description="timeout in seconds for receiving a request's headers")
    ] = 10.0
    body_seconds: Annotated[
        Seconds, Meta(description="timeout in seconds for receiving a request's body")
    ] = 20.0
    idle_seconds: Annotated[
        Seconds, Meta(description="timeout in seconds for an idle connection")
    ] = 75.0
    write_seconds: Annotated[
        Seconds, Meta(description="timeout in seconds for a client that does not read the response")
    ] = 20.0
    drain_seconds: Annotated[
        Seconds, Meta(description="seconds that a shutdown waits for requests in progress")
    ] = 10.0
    max_batch: Annotated[Bytes, Meta(description="maximum bytes of an NDJSON body of events")] = (
        16_777_216
    )
    held_bytes: Annotated[
        int,
        Meta(
            ge=1_048_576,
            description="memory budget in bytes for request bodies, one client at most half of it; "
            "more is answered 503",
        ),
    ] = 16_777_216
    queue_bytes: Annotated[
        Bytes,
        Meta(description="maximum bytes of events waiting for a commit; more is answered 503"),
    ] = 16_777_216
    queue_seconds: Annotated[
        Seconds,
        Meta(
            description="maximum seconds that events wait for a commit; then more are answered 503"
        ),
    ] = 2.0
    retention_days: Annotated[
        int,
        Meta(ge=0, description="days until events are deleted, 31 or more; 0 keeps them forever"),
    ] = 0
    rate_per_address: Annotated[
        str,
        Meta(
            description="maximum request rate of one client address, such as 20/s; empty: no limit"
        ),
    ] = ""
    rate_per_token: Annotated[
        str,
        Meta(description="maximum request rate of one secret token, such as 9/h; empty: no limit"),
    ] = ""
    max_upload: Annotated[
        Bytes, Meta(description="maximum bytes of an uploaded campaign folder, packed and unpacked")
    ] = 1_073_741_824
    image_cache: Annotated[Bytes, Meta(description="bytes of banner images cached in memory")] = (
        67_108_864
    )
    upstream: Annotated[
        str,
        Meta(description="base URL of the server whose /live/toppages/ is polled; empty: itself"),
    ] = ""
    upstream_version: Annotated[
        Literal["legacy", "v3"], Meta(description="response format of the upstream")
    ] = "legacy"
    reading_seconds: Annotated[
        float, Meta(ge=0.2, le=60, description="seconds between readings of a polled host")
    ] = 5.0
    visit_seconds: Annotated[
        float,
        Meta(
            ge=5,
            le=3600,
            description="seconds that a visitor stays active after a pageview or heartbeat",
        ),
    ] = 60.0
    audience_days: Annotated[
        int, Meta(ge=1, le=400, description="days until the audience's minute averages are deleted")
    ] = 8
    rising_score: Annotated[
        float,
        Meta(ge=3, le=100, description="minimum trend score for a page to count as rising"),
    ] = 4.0
    loop: Annotated[
        Literal["uvloop", "asyncio"], Meta(description="event loop; asyncio is for debugging")
    ] = "uvloop"
    server: Annotated[
        Literal["wire", "tornado"],
        Meta(description="HTTP server; tornado is slower and for comparison"),
    ] = "wire"

    def time_zone(self) -> ZoneInfo:
        """Return the time zone of the slots; raise `SettingError` for an unknown name."""
        try:
            return ZoneInfo(self.tz)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise SettingError(
                f"tz: unknown time zone {self.tz!r}; use an IANA name such as Europe/Berlin"
            ) from None

    def trusted_proxies(self) -> list[str]:
        """Return the items of `proxies`; raise `SettingError` for an invalid network."""
        proxies = [each.strip() for each in self.proxies.split(",") if each.strip()]
        for each in proxies:
            try:
                _ = each == "unix" or ip_network(each)
            except ValueError as error:
                raise SettingError(
                    f"proxies: {error}; use a list such as 10.0.0.7,10.1.0.0/16"
                ) from None
        return proxies

    def rate_limits(self) -> tuple[RequestRate | None, RequestRate | None]:
        """Return the rates per address and per token; raise `SettingError` for an invalid one."""
        rates = []
        for name in ("rate_per_address", "rate_per_token"):
            text: str = getattr(self, name)
            try:
                rates.append(parse_rate(text) if text else None)
            except ValueError as error:
                raise SettingError(f"{name}: {error}") from None
        per_address, per_token = rates
        return per_address, per_token

    def upstream_url(self) -> str:
        """Return the upstream's base URL, empty for none; raise `SettingError` if it is invalid."""
        url = self.upstream.strip().rstrip("/")
        try:
            parts = urlsplit(url)
            is_valid = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
            # The URL is logged and stored with the readings, so it must not contain a password.
            is_valid = is_valid and "@" not in parts.netloc
        except ValueError:
            is_valid = False
        if url and (not is_valid or parts.query or parts.fragment):
            raise SettingError(
                f"upstream: invalid URL {self.upstream!r}; use one such as https://api.example.com"
            )
        return url


def refuse_passphrase() -> str:
    """Raise `SettingError`; OpenSSL calls it instead of prompting for a key's pass phrase."""
    raise SettingError("tls_key: has a pass phrase; use a key without one")


@cache
def settings_table() -> tuple[tuple[str, type[Any], Any, str, tuple[str, ...]], ...]:
    """Return each setting as (name, type, default, description, choices)."""
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
    command_line_values: Mapping[str, Any], environ: Mapping[str, str], config: str | None
) -> Settings:
    """Merge and validate the settings of all sources; raise `SettingError`.

    `command_line_values` holds only options that were given; `config` is the path of a TOML file.
    """
    merged: dict[str, Any] = {}
    for source, values in (
        (f"{config}", _from_file(config) if config else {}),
        ("the environment", _from_environment(environ)),
        ("the command line", command_line_values),
    ):
        for name, value in values.items():
            _validate(name, value, source)
            merged[name] = value
    settings = msgspec.convert(merged, Settings, strict=False)
    settings.time_zone()
    settings.trusted_proxies()
    settings.rate_limits()
    if 0 < settings.retention_days < MIN_RETENTION_DAYS:
        raise SettingError(
            f"retention_days: must be {MIN_RETENTION_DAYS} or more (monthly active users need "
            "30 days), or 0 to keep events forever"
        )
    if 2 * settings.max_body > settings.held_bytes:
        raise SettingError(
            f"held_bytes = {settings.held_bytes}: must be at least twice max_body "
            f"({settings.max_body}), because one client may use at most half of it"
        )
    settings.upstream_url()
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise SettingError("tls_cert and tls_key must be set together")
    return settings


def _from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    linked = service_links(environ)
    for each in environ:
        name = each.removeprefix(ENVIRONMENT_PREFIX).lower()
        # Variables with other names may belong to other programs.
        if each.startswith(ENVIRONMENT_PREFIX) and name not in SETTING_NAMES and each not in linked:
            for near in difflib.get_close_matches(name, SETTING_NAMES, 1, 0.85):
                raise SettingError(
                    f"unknown variable {each}; did you mean {ENVIRONMENT_PREFIX}{near.upper()}?"
                )
    named = {name: ENVIRONMENT_PREFIX + name.upper() for name in SETTING_NAMES}
    return {
        name: environ[variable]
        for name, variable in named.items()
        if variable in environ and variable not in linked
    }


def service_links(environ: Mapping[str, str]) -> list[str]:
    """Return the variables that Kubernetes or `docker --link` set for a service named marquee.

    `MARQUEE_PORT` is one of them only if its value is an address such as `tcp://10.0.0.1:8000`.
    Services with the prefix "marquee-" have such variables, too.
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
        raise SettingError(f"{path}: invalid TOML: {error}") from None


def _validate(name: str, value: Any, source: str) -> None:
    if name not in SETTING_NAMES:
        near = difflib.get_close_matches(name, SETTING_NAMES, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise SettingError(f"{source}: unknown setting {name!r}{hint}")
    try:
        msgspec.convert({name: value}, Settings, strict=False)
    except msgspec.ValidationError as error:
        reason = str(error).rsplit(" - at `", 1)[0]
        raise SettingError(f"{source}: {name} = {value!r}: {reason}") from None
