"""Mails through a mail server.

What a server refuses for good (a 5xx answer to the recipient or the content) is told from what may pass: a 4xx
answer, a lost connection, silence. Whatever happens before the message is begun concerns every other one too.
"""

from __future__ import annotations

import contextlib
import smtplib
import socket
import ssl
import threading
from typing import TYPE_CHECKING

from pdk_pipeline.channels import mail
from pdk_pipeline.channels.message import is_url
from pdk_pipeline.errors import ChannelDown, DeliveryFault, MessageRefused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pdk_pipeline.channels.message import Message
    from pdk_pipeline.config import Settings

NAME = "smtp"

USUAL_PORTS = {"starttls": 587, "tls": 465, "none": 25}

LOG_IN_FIRST = {530, 534, 535, 538}
"""Answers that ask for another login than the one that was made. Source: RFC 4954, 6."""

TOO_LARGE = 552
"""The one answer to the sender's address that is about the message. Source: RFC 1870, 6.1."""

CLOSING = 421
"""Whatever was asked, the server is going away. Source: RFC 5321, 3.8."""


def serves(settings: Settings, recipient: str) -> bool:
    """Every mail address, once there is a server."""
    return bool(settings.smtp_host) and not is_url(recipient)


def send(settings: Settings, message: Message, *, seconds: float) -> str:
    """Hand a mail to the server. Returns the server's answer."""
    content = mail.compose(settings, message).as_bytes()
    to = mail.recipient(message).addr_spec
    with _ready(settings, seconds) as server:
        try:
            return _hand_over(server, mail.sender(settings).addr_spec, to, content)
        except (smtplib.SMTPException, OSError) as error:
            raise DeliveryFault(f"{place(settings)}: {_why(error)}") from None


def probe(settings: Settings, *, seconds: float) -> None:
    """Do all that comes before a mail, and no more. Raises ChannelDown."""
    with _ready(settings, seconds):
        pass


def place(settings: Settings) -> str:
    """The server and its port."""
    return f"{settings.smtp_host}:{_port(settings)}"


def _port(settings: Settings) -> int:
    return settings.smtp_port or USUAL_PORTS[settings.smtp_security]


@contextlib.contextmanager
def _ready(settings: Settings, seconds: float) -> Iterator[smtplib.SMTP]:
    """A server that waits for a mail; whatever goes wrong up to there is no mail's fault. Raises ChannelDown."""
    with contextlib.ExitStack() as held:
        try:
            server = held.enter_context(_connected(settings, min(settings.smtp_timeout_seconds, seconds)))
            held.enter_context(_cut_off_after(seconds, server))
            _begin(settings, server)
        except smtplib.SMTPAuthenticationError as error:
            advice = "Look at smtp_user and smtp_password."
            raise ChannelDown(f"{place(settings)} lets {settings.smtp_user} not in: {_why(error)}", advice) from None
        except (smtplib.SMTPException, OSError, UnicodeError) as error:
            raise ChannelDown(f"{place(settings)}: {_why(error)}", _advice(settings, error)) from None
        yield server


@contextlib.contextmanager
def _connected(settings: Settings, timeout: float) -> Iterator[smtplib.SMTP]:
    """A connection, said farewell to in the end without waiting for the answer: what counts has been said by then."""
    host, port, name = settings.smtp_host, _port(settings), mail.domain(settings)
    if settings.smtp_security == "tls":
        context = _trusting(settings)
        server: smtplib.SMTP = smtplib.SMTP_SSL(host, port, name, timeout=timeout, context=context)
    else:
        server = smtplib.SMTP(host, port, name, timeout=timeout)
    try:
        yield server
    finally:
        with contextlib.suppress(smtplib.SMTPException, OSError):
            server.send("QUIT\r\n")
        server.close()


def _begin(settings: Settings, server: smtplib.SMTP) -> None:
    """Everything up to the message: greetings, encryption, login."""
    server.ehlo_or_helo_if_needed()
    if settings.smtp_security == "starttls":
        server.starttls(context=_trusting(settings))
        server.ehlo_or_helo_if_needed()
    if settings.smtp_user:
        if settings.smtp_security == "none":
            raise smtplib.SMTPNotSupportedError("the password would be sent in the clear")
        password = settings.smtp_password.plain if settings.smtp_password else ""
        server.login(settings.smtp_user, password)


def _trusting(settings: Settings) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if settings.smtp_ca_file:
        context.load_verify_locations(settings.smtp_ca_file)
    return context


@contextlib.contextmanager
def _cut_off_after(seconds: float, server: smtplib.SMTP) -> Iterator[None]:
    """Close the connection after so long: a server that says a byte now and then would keep us for ever."""

    def cut_off() -> None:
        with contextlib.suppress(OSError):
            if server.sock:
                # The plain socket's: TLS has a farewell of its own, which would wait.
                socket.socket.shutdown(server.sock, socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut_off)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _hand_over(server: smtplib.SMTP, from_: str, to: str, content: bytes) -> str:
    """The message itself: sender, recipient, content. Returns the server's last answer."""
    size = [f"size={len(content)}"] if server.has_extn("size") else []
    code, answer = server.mail(from_, size)
    if code != 250:
        if code == TOO_LARGE:
            raise MessageRefused(_told(code, answer))
        raise ChannelDown(f"the sender {from_} is not taken: {_told(code, answer)}", advice="Look at mail_from.")
    code, answer = server.rcpt(to)
    if code not in (250, 251, 252):
        raise _refusal(code, answer)
    try:
        code, answer = server.data(content)
    except smtplib.SMTPDataError as error:
        raise _refusal(error.smtp_code, error.smtp_error) from None
    if code != 250:
        raise _refusal(code, answer)
    return _told(code, answer)


def _refusal(code: int, answer: bytes | str) -> MessageRefused | DeliveryFault:
    told = _told(code, answer)
    if code in LOG_IN_FIRST:
        return ChannelDown(told, advice="Look at smtp_user and smtp_password.")
    if code == CLOSING:
        return ChannelDown(told)
    return MessageRefused(told) if 500 <= code <= 599 else DeliveryFault(told)


def _told(code: int, answer: bytes | str) -> str:
    """A server's answer in one line."""
    text = answer.decode("utf-8", "backslashreplace") if isinstance(answer, bytes) else str(answer)
    return f"{code} {' '.join(text.split())}"[:300].strip()


def _why(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        return _told(error.smtp_code, error.smtp_error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, TimeoutError) or str(error).endswith("timed out"):  # smtplib has made it its own
        return "no answer in time"
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return "the connection was lost"
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)) or type(error).__name__


def _advice(settings: Settings, error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "smtp_ca_file names a certificate to trust."
    if isinstance(error, (smtplib.SMTPNotSupportedError, ssl.SSLError)):
        return f"smtp_security is {settings.smtp_security}; starttls, tls and none are possible."
    return "Look at smtp_host, smtp_port and smtp_security."
