"""A real mail server for tests: it keeps what it accepts, and treats a mail as the test says."""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
import subprocess
import threading
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any, NamedTuple, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

PATIENCE_SECONDS = 30
"""How long to wait for what comes in a moment; only a failing test ever waits so long."""


class Mail(NamedTuple):
    """A mail that was accepted."""

    sender: str
    recipient: str
    content: bytes
    message: EmailMessage
    login: str | None

    @property
    def id(self) -> str:
        return self.message["Message-ID"]

    def part(self, kind: str) -> str:
        """The text of its plain or html part."""
        return self.message.get_body((kind,)).get_content().replace("\r\n", "\n")


class _Server(SMTP):
    async def push(self, status: str | bytes) -> None:
        await super().push(status)
        if status[:9] == "250 taken":
            self.event_handler.after_taking()


class _Controller(Controller):
    def factory(self) -> SMTP:
        return _Server(self.handler, **self.SMTP_kwargs)

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]  # any free one was asked for
        super()._trigger_server()


class MailServer:
    """A mail server on a port of its own, started by `with`."""

    def __init__(self, **options: Any) -> None:
        self.mails: list[Mail] = []
        self.connections = 0
        self.on_sender: Callable[[str], str | None] = lambda _sender: None
        """An answer in place of 250; so are those below."""
        self.on_recipient: Callable[[str], str | None] = lambda _recipient: None
        self.on_content: Callable[[Envelope], str | None] = lambda _envelope: None
        self.after_taking: Callable[[], None] = lambda: None
        self.hangs_up_in_data = False
        self.is_silent = False
        """It takes a mail's content, and then says nothing."""
        self.dawdles = False
        """It says something every moment, and does not come to the point."""
        self.hangs_up_instead_of_yes = False
        """It takes a mail, and nobody hears that it has."""
        self._news = threading.Condition()
        self._options = options
        self._controller = self._new_controller(port=0)

    def _new_controller(self, *, port: int) -> _Controller:
        return _Controller(self, hostname="127.0.0.1", port=port, **self._options)

    def __enter__(self) -> Self:
        self._controller.start()
        self.connections = 0
        return self

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Nobody listens, and every connection that there is breaks."""
        port = self.port
        self._controller.stop()
        try:
            yield
        finally:
            self._controller = self._new_controller(port=port)
            self._controller.start()

    def __exit__(self, *_: object) -> None:
        self._controller.stop()

    @property
    def port(self) -> int:
        return self._controller.port

    @property
    def recipients(self) -> list[str]:
        return [mail.recipient for mail in self.mails]

    def wait_for(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so that a mail makes so."""
        with self._news:
            assert self._news.wait_for(is_so, timeout=PATIENCE_SECONDS), self.recipients

    # What the server calls ----------------------------------------------------------------------------------

    async def handle_EHLO(self, _server, session, _envelope, hostname, responses):  # noqa: N802
        self.connections += 1
        session.host_name = hostname
        return responses

    async def handle_MAIL(self, _server, _session, envelope: Envelope, address, _options):  # noqa: N802
        answer = self.on_sender(address)
        if answer is None:
            envelope.mail_from = address
        return answer or "250 go on"

    async def handle_RCPT(self, _server, _session, envelope: Envelope, address, _options):  # noqa: N802
        answer = self.on_recipient(address)
        if answer is None:
            envelope.rcpt_tos.append(address)
        return answer or "250 go on"

    async def handle_DATA(self, server, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.hangs_up_in_data:
            server.transport.abort()
            return "451 not heard any more"
        if self.is_silent:
            await asyncio.Event().wait()
        for _ in range(100 if self.dawdles else 0):
            await server.push("250-wait a moment")
            await asyncio.sleep(0.02)
        answer = self.on_content(envelope)
        if answer:
            return answer
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        login = session.auth_data.decode() if session.authenticated else None
        for recipient in envelope.rcpt_tos:
            with self._news:
                self.mails.append(Mail(envelope.mail_from, recipient, envelope.content, message, login))
                self._news.notify_all()
        if self.hangs_up_instead_of_yes:
            server.transport.abort()
        return f"250 taken as {len(self.mails)}"


def one_user(user: str, password: str) -> dict[str, Any]:
    """Options of a server that lets one user in, over TLS only."""

    def authenticate(_server, _session, _envelope, _mechanism, login: LoginPassword) -> AuthResult:
        is_right = (login.login, login.password) == (user.encode(), password.encode())
        return AuthResult(success=is_right, handled=False, auth_data=login.login)

    return {"authenticator": authenticate, "auth_required": True}


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate of one's own for 127.0.0.1, and its key."""
    certificate, key = directory / "cert.pem", directory / "key.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
            "-keyout", key, "-out", certificate,
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return certificate, key
