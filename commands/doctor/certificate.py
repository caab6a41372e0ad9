"""TLS certificate: readable, matching its key, and valid now."""

import ssl
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from app.settings import SettingError, Settings, refuse_passphrase
from commands.doctor.finding import DoctorFinding, passed, problem

EXPIRY_WARNING_DAYS = 14
# Error codes of X509_verify_cert_error_string(3).
CERT_HAS_EXPIRED, CERT_NOT_YET_VALID = 10, 9


def check_certificate(settings: Settings, now: datetime) -> Iterator[DoctorFinding]:
    """Check the certificate and the key of the settings, if TLS is enabled."""
    if not settings.tls_cert:
        return
    paths = [Path(settings.tls_cert), Path(settings.tls_key)]
    for path in paths:
        try:
            path.read_bytes()
        except OSError as error:
            message = f"{path} cannot be read: {error.strerror}"
            yield problem(
                "tls", message, "make it readable for the user of the server (LoadCredential=)"
            )
            return
    if stat.S_IMODE(paths[1].stat().st_mode) & 0o007:
        yield problem("tls", f"the key {paths[1]} is readable by all users", f"chmod o= {paths[1]}")
    try:
        ends = _expiry_time(settings.tls_cert, settings.tls_key)
    except ssl.SSLCertVerificationError as error:
        reason = {CERT_HAS_EXPIRED: "has expired", CERT_NOT_YET_VALID: "is not valid yet"}.get(
            error.verify_code
        )
        message = f"{paths[0]} {reason or error.verify_message}"
        yield problem("tls", message, "renew it; check the clock")
        return
    except SettingError as error:
        yield problem("tls", str(error), f"openssl pkey -in {paths[1]} -out NEW")
        return
    except (ssl.SSLError, OSError) as error:
        mismatch = "KEY_VALUES_MISMATCH" in str(error)
        message = (
            f"{paths[1]} does not match the certificate" if mismatch else f"cannot be used: {error}"
        )
        yield problem("tls", message, "set tls_key to the key of the certificate")
        return
    days = (ends - now).days
    if days < EXPIRY_WARNING_DAYS:
        yield problem("tls", f"expires in {days} days", "renew it and restart")
    else:
        yield passed("tls", f"valid until {ends:%Y-%m-%d}")


def _expiry_time(cert: str, key: str) -> datetime:
    """Return the certificate's expiry time, by an in-memory handshake that trusts only it."""
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_context.load_cert_chain(cert, key, refuse_passphrase)
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client_context.load_verify_locations(cert)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    certificate = client.getpeercert()
    assert certificate
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)
