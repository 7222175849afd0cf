"""A real SMTP server in a thread, which keeps what it gets."""

from __future__ import annotations

import email
import email.policy
import ssl
import threading
import time
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from tests.support.servers import free_port

TIMEOUT_S = 30.0


class Mailbox:
    """The server and its mails. Use as a context manager."""

    def __init__(
        self,
        port: int = 0,
        refuse: Callable[[str], str | None] = lambda to: None,
        several: bool = False,
        **options: Any,
    ) -> None:
        from aiosmtpd.controller import Controller

        self.port = port or free_port()
        self.mails: list[EmailMessage] = []
        self.encrypted: list[bool] = []
        self._arrived = threading.Condition()
        self._refuse = refuse
        self._several = several
        self._controller = Controller(self, "127.0.0.1", self.port, **options)

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, to: str, _: Any) -> str:
        """Refuse whom the test says."""
        said = self._refuse(to)
        if said is not None:
            return said
        envelope.rcpt_tos.append(to)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        """Keep a mail."""
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        assert ", ".join(envelope.rcpt_tos) == str(message["To"])
        assert self._several or len(envelope.rcpt_tos) == 1
        with self._arrived:
            self.mails.append(message)
            self.encrypted.append(session.ssl is not None)
            self._arrived.notify_all()
        return "250 OK"

    def __enter__(self) -> Mailbox:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()

    def wait(self, count: int) -> list[EmailMessage]:
        """Wait until so many mails came."""
        deadline = time.monotonic() + TIMEOUT_S
        with self._arrived:
            while len(self.mails) < count:
                left_s = deadline - time.monotonic()
                assert left_s > 0, f"{len(self.mails)} of {count}: {self.subjects}"
                self._arrived.wait(left_s)
        return self.mails

    @property
    def subjects(self) -> list[str]:
        """What the mails are about."""
        return [str(mail["Subject"]) for mail in self.mails]


def certificate(folder: Path) -> ssl.SSLContext:
    """Make a server's context with a certificate for localhost that signs itself (cert.pem)."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context
