"""The TLS certificate: readable, the key's own, and of this time."""

import ssl
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from app.settings import SettingError, Settings, refuse_passphrase
from commands.doctor.finding import DoctorFinding, fault, ok

EXPIRY_WARNING_DAYS = 14  # days
CERT_HAS_EXPIRED, CERT_NOT_YET_VALID = 10, 9  # X509_verify_cert_error_string(3)


def check_certificate(settings: Settings, now: datetime) -> Iterator[DoctorFinding]:
    """What is wrong with the certificate that the settings name, if they name one."""
    if not settings.tls_cert:
        return
    paths = [Path(settings.tls_cert), Path(settings.tls_key)]
    for path in paths:
        try:
            path.read_bytes()
        except OSError as error:
            words = f"{path} cannot be read: {error.strerror}"
            yield fault("tls", words, "let the user who serves read it (LoadCredential=)")
            return
    if stat.S_IMODE(paths[1].stat().st_mode) & 0o007:
        yield fault("tls", f"everyone may read the key {paths[1]}", f"chmod o= {paths[1]}")
    try:
        ends = _expiry_time(settings.tls_cert, settings.tls_key)
    except ssl.SSLCertVerificationError as error:
        reason = {CERT_HAS_EXPIRED: "has expired", CERT_NOT_YET_VALID: "is not valid yet"}.get(
            error.verify_code
        )
        words = f"{paths[0]} {reason or error.verify_message}"
        yield fault("tls", words, "get a new one; is the clock right?")
        return
    except SettingError as error:
        yield fault("tls", str(error), f"openssl pkey -in {paths[1]} -out NEW")
        return
    except (ssl.SSLError, OSError) as error:
        mismatch = "KEY_VALUES_MISMATCH" in str(error)
        words = f"{paths[1]} is not its key" if mismatch else f"it cannot be used: {error}"
        yield fault("tls", words, "give the certificate and the key that was made for it")
        return
    days = (ends - now).days
    if days < EXPIRY_WARNING_DAYS:
        yield fault("tls", f"it expires in {days} days", "renew it, and restart")
    else:
        yield ok("tls", f"it is valid until {ends:%Y-%m-%d}")


def _expiry_time(cert: str, key: str) -> datetime:
    """The certificate's end, by a handshake with ourselves in which nobody else is trusted."""
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(cert, key, refuse_passphrase)
    asking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    asking.check_hostname = False
    asking.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    asking.load_verify_locations(cert)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = asking.wrap_bio(back, there)
    server = serving.wrap_bio(there, back, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    found = client.getpeercert()
    assert found
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(found["notAfter"])), UTC)
