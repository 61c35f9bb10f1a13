"""TLS of a provider: the files that the options of its URL name, and what an error of TLS means.

The certificate of the server is always verified; there is no option against it. A back end that anybody can pose as
decides who is a member.
"""

from __future__ import annotations

import ssl
from typing import Final

import msgspec

from inaho.errors import ProviderInvalid
from inaho.providers.setup import ProviderSetup

__all__ = ["TLS_OPTIONS", "TlsFiles"]

TLS_OPTIONS: Final = ("ca", "cert", "key", "server_name")
"""Options of a URL that `TlsFiles.of` reads."""

_NO_TLS: Final = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNSUPPORTED_PROTOCOL")


class TlsFiles(msgspec.Struct, frozen=True):
    """How TLS is used. The certificate of the server is always verified.

    Attributes:
        ca: file of the certificates to trust; empty trusts those of the system.
        cert, key: files of the certificate of this client and its key; empty shows none.
        server_name: name in the certificate of the server; empty takes the host of the URL.
    """

    ca: str = ""
    cert: str = ""
    key: str = ""
    server_name: str = ""

    @classmethod
    def of(cls, setup: ProviderSetup) -> TlsFiles:
        """As the options `TLS_OPTIONS` of the URL say."""
        return cls(*(setup.url.options.get(name, "") for name in TLS_OPTIONS))

    def context(self) -> ssl.SSLContext:
        """Reads the files. Raises `ProviderInvalid` that names the file."""
        try:
            made = ssl.create_default_context(cafile=self.ca or None)
        except (OSError, ssl.SSLError) as error:
            raise ProviderInvalid(f"the option ca: {self.ca} cannot be read as certificates: {error}") from error
        if self.cert:
            try:
                made.load_cert_chain(self.cert, self.key or None)
            except (OSError, ssl.SSLError) as error:
                raise ProviderInvalid(
                    f"the options cert and key: {self.cert} and {self.key or self.cert} cannot be used: {error}"
                ) from error
        return made

    def problem(self, error: BaseException) -> str:
        """What is wrong with a certificate, or with TLS as such; empty if the error has another cause."""
        cause: BaseException | None = error
        while cause is not None:
            # Errors of aiohttp keep their cause in attributes. Some are an `SSLError` themselves, without a reason.
            inner = getattr(cause, "certificate_error", None) or getattr(cause, "os_error", None)
            if inner is None and isinstance(cause, ssl.SSLError):
                break
            cause = inner or cause.__cause__
        else:
            return ""
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                f"the certificate of the server does not verify against {self.ca or 'those of the system'}: "
                f"{cause.verify_message}; correct the option ca, the certificate, or the name of the server (in the "
                "URL, or server_name where there is such an option)"
            )
        reason = cause.reason or ""
        if "ALERT" in reason:
            return f"the server refuses the certificate of this client (option cert: {self.cert or 'none'}): {reason}"
        return f"this server speaks no TLS that this client knows: {reason}" if reason in _NO_TLS else ""
