"""A certificate authority that lives as long as one server."""

from __future__ import annotations

import os
import ssl
import tempfile

import trustme

__all__ = ["Certificates"]


class Certificates:
    """A throw-away authority, a certificate for the loopback names, and the contexts that use them.

    :ivar ca_file: path of the authority's certificate in PEM, until :meth:`remove`.
    :ivar server_context: presents the certificate.
    :ivar client_context: trusts the authority and nothing else.
    """

    def __init__(self) -> None:
        authority = trustme.CA()
        self.server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1", "localhost").configure_cert(self.server_context)
        self.client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authority.configure_trust(self.client_context)
        handle, self.ca_file = tempfile.mkstemp(prefix="responses_ws-ca-", suffix=".pem")
        with os.fdopen(handle, "wb") as file:
            file.write(authority.cert_pem.bytes())

    def remove(self) -> None:
        """Delete the file."""
        os.unlink(self.ca_file)
