"""TLS contexts by DICOM's BCP 195 profile: TLS 1.2 and later, both sides with a certificate.

References
----------
DICOM PS3.15, annex B.9, BCP 195 TLS Secure Transport Connection Profile; RFC 9325, section 4.2,
the recommended cipher suites.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final

from scanside.errors import UsageError

if TYPE_CHECKING:
    from scanside.listen.config import Tls

__all__ = ["client_context", "server_context"]

_CIPHERS: Final = ":".join(
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES256-GCM-SHA384",
    )
)
"""For TLS 1.2; those of 1.3 are all of this kind."""


def server_context(tls: Tls) -> ssl.SSLContext:
    """Return the context for receiving; a client without a certificate is refused.

    Raises
    ------
    UsageError
        If a file can't be used.
    """
    return _loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), tls)


def client_context(tls: Tls) -> ssl.SSLContext:
    """Return the context for sending; the host name or address must be the certificate's.

    Raises
    ------
    UsageError
        If a file can't be used.
    """
    return _loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), tls)


def _loaded(context: ssl.SSLContext, tls: Tls) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(tls.certificate, tls.key)
        context.load_verify_locations(tls.authorities)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(
            f"TLS with {tls.certificate}, {tls.key} and {tls.authorities}: {error}",
            accepted="PEM files: a certificate, its key without a pass phrase, the authorities",
        ) from error
    return context
