"""Channels: what arrives, what is refused for good, and what may pass."""

from __future__ import annotations

import email
import email.policy
import http.server
import importlib.util
import json
import shutil
import ssl
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from pdk_pipeline import channels, config, doctor
from pdk_pipeline.channels import Message
from pdk_pipeline.errors import ChannelDown, DeliveryFault, MessageRefused
from tests.mail_server import MailServer, make_certificate, one_user

MESSAGE = Message(
    message_id="5f2e@example.org",
    recipient="ann@example.org",
    subject="[pdk] calib daily_2026-11-23: 1 newly failing",
    text="flat/test_bias fails\n.and a line that begins with a dot\n",
    html="<p>flat/test_bias fails</p>\n",
    created_at=1_763_881_200.0,
)
SECRET = "hunter2"
MEAN = '<script>alert("x")</script>\r\nBcc: eve@example.org\n\n\0\x1b[2J\u2028"; ' + "x" * 10_000


@pytest.fixture
def server(monkeypatch):
    with MailServer() as started:
        set_server(monkeypatch, started, SMTP_SECURITY="none")
        yield started


def needs_apprise(test):
    """For a test that delivers through the library apprise, whose modules load old ones of Python's."""
    is_there = importlib.util.find_spec("apprise") is not None
    test = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")(test)
    return pytest.mark.skipif(not is_there, reason="apprise is not installed")(test)


def set_server(monkeypatch, server, **settings):
    settings = {"SMTP_HOST": "127.0.0.1", "SMTP_PORT": server.port, **settings}
    for name, value in settings.items():
        monkeypatch.setenv(f"PDK_{name}", str(value))


def send(message=MESSAGE, channel=None, seconds=30.0):
    settings = config.load()
    name = channel or channels.for_recipient(settings, message.recipient).NAME
    return channels.send(settings, name, message, seconds=seconds)


def fault(kind, *args, **kwargs):
    """What is told when sending fails with exactly this kind of fault."""
    with pytest.raises(kind) as raised:
        send(*args, **kwargs)
    assert type(raised.value) is kind
    return str(raised.value)


# Mails -------------------------------------------------------------------------------------------------------


def test_a_mail_arrives_with_both_parts_and_all_that_programs_look_at(server, monkeypatch):
    monkeypatch.setenv("PDK_MAIL_FROM", "Tests of Zürich <tests@example.org>")
    assert send() == "250 taken as 1"
    (mail,) = server.mails
    assert (mail.sender, mail.recipient) == ("tests@example.org", "ann@example.org")
    assert dict(mail.message.items()) == {
        "From": "Tests of Zürich <tests@example.org>",
        "To": "ann@example.org",
        "Subject": MESSAGE.subject,
        "Date": "Sun, 23 Nov 2025 07:00:00 +0000",
        "Message-ID": "<5f2e@example.org>",
        "List-Id": "pdk test reports <pdk.example.org>",
        "Auto-Submitted": "auto-generated",
        "X-Auto-Response-Suppress": "All",
        "MIME-Version": "1.0",
        "Content-Type": mail.message["Content-Type"],
    }
    assert mail.message.get_content_type() == "multipart/alternative"
    assert mail.part("plain") == MESSAGE.text
    assert mail.part("html") == MESSAGE.html
    assert not mail.message.defects


def test_the_same_message_is_the_same_mail_to_the_last_byte(server):
    send()
    send()
    assert server.mails[0].content == server.mails[1].content


def test_a_mail_that_adds_to_another_one_stands_beneath_it(server):
    send(replace(MESSAGE, answers="first@example.org"))
    (mail,) = server.mails
    assert mail.message["In-Reply-To"] == mail.message["References"] == "<first@example.org>"


def test_letters_of_every_kind_and_very_long_lines_arrive_as_they_were(server):
    text = "größer 测试 🙂\n" + "y" * 10_000 + "\n.\n"
    send(replace(MESSAGE, subject="größer 测试", text=text, html=f"<pre>{text}</pre>\n"))
    (mail,) = server.mails
    assert mail.message["Subject"] == "größer 测试"
    assert mail.part("plain") == text
    assert mail.part("html") == f"<pre>{text}</pre>\n"
    assert max(map(len, mail.content.split(b"\r\n"))) <= 998


@pytest.mark.parametrize("channel", ["smtp", "eml"])
def test_nothing_can_be_smuggled_into_a_mail(channel, server, home):
    send(replace(MESSAGE, subject=MEAN, text=MEAN, html=MEAN), channel)
    if channel == "smtp":
        content = server.mails[0].content
        assert server.recipients == ["ann@example.org"]
    else:
        (path,) = home.outbox.iterdir()
        content = path.read_bytes()
    mail = email.message_from_bytes(content, policy=email.policy.default)
    assert "Bcc" not in mail
    assert mail["Subject"].startswith('<script>alert("x")</script> Bcc: eve@example.org [2J "; xxx')
    assert len(mail["Subject"]) == 200
    assert mail.get_body(("plain",)).get_content().replace("\r\n", "\n") == MEAN.replace("\r\n", "\n") + "\n"
    assert not mail.defects


@pytest.mark.parametrize(
    "recipient",
    ["ann@example.org\nBcc: eve@example.org", "a@b> SIZE=1", "", "a b@c", "x" * 300 + "@example.org", "-oQ/tmp"],
)
@pytest.mark.parametrize("channel", ["smtp", "eml"])
def test_what_is_no_address_is_refused_before_anybody_hears_of_it(channel, recipient, server, home):
    fault(MessageRefused, replace(MESSAGE, recipient=recipient), channel)
    assert server.connections == 0
    assert not home.outbox.exists()


def test_a_name_without_a_host_is_left_to_the_mail_server(server):
    send(replace(MESSAGE, recipient="ann"))
    assert server.recipients == ["ann"]


# Mail servers ------------------------------------------------------------------------------------------------


def test_a_recipient_whom_the_server_refuses_is_refused_for_good(server):
    server.on_recipient = lambda _: "550 5.1.1 no such user here"
    assert "550 5.1.1 no such user here" in fault(MessageRefused)


def test_a_content_that_the_server_refuses_is_refused_for_good(server):
    server.on_content = lambda _: "554 5.7.1 this is spam"
    assert "554 5.7.1 this is spam" in fault(MessageRefused)


def test_a_message_that_is_too_large_is_refused_for_good(monkeypatch):
    with MailServer(data_size_limit=1000) as server:
        set_server(monkeypatch, server, SMTP_SECURITY="none")
        assert "552" in fault(MessageRefused, replace(MESSAGE, text="y" * 2000))
        assert send(replace(MESSAGE, text="short", html="")) == "250 taken as 1"


@pytest.mark.parametrize("when", ["on_recipient", "on_content"])
def test_a_refusal_for_now_may_pass(when, server):
    setattr(server, when, lambda _: "451 4.7.1 greylisted, come back later")
    assert "451 4.7.1 greylisted" in fault(DeliveryFault)
    setattr(server, when, lambda _: None)
    assert send() == "250 taken as 1"


def test_a_connection_lost_in_the_middle_of_the_content_may_pass(server):
    server.hangs_up_in_data = True
    fault(DeliveryFault)


def test_a_server_that_falls_silent_is_waited_for_no_longer_than_is_set(server, monkeypatch):
    server.is_silent = True
    monkeypatch.setenv("PDK_SMTP_TIMEOUT_SECONDS", "0.1")
    assert "no answer in time" in fault(DeliveryFault)


@pytest.mark.parametrize("way", ["is_silent", "dawdles"])
def test_a_server_that_does_not_come_to_an_end_is_cut_off_when_the_time_is_over(way, server):
    setattr(server, way, True)
    fault(DeliveryFault, seconds=0.1)


@pytest.mark.parametrize(
    ("when", "answer"),
    [
        ("on_sender", "550 5.7.1 I do not know this sender"),
        ("on_sender", "451 4.3.2 try again later"),
        ("on_recipient", "530 5.7.0 authentication required"),
        ("on_recipient", "421 4.3.2 going down for maintenance"),
    ],
)
def test_what_the_server_says_of_us_concerns_every_message(when, answer, server):
    setattr(server, when, lambda _: answer)
    assert answer in fault(ChannelDown)


def test_a_server_that_is_not_there_concerns_every_message(monkeypatch):
    monkeypatch.setenv("PDK_SMTP_HOST", "127.0.0.1")
    monkeypatch.setenv("PDK_SMTP_PORT", "1")
    assert "127.0.0.1:1: Connection refused. Look at smtp_host" in fault(ChannelDown)


def test_a_server_that_cannot_encrypt_is_told_of_and_nothing_is_sent_in_the_clear(server, monkeypatch):
    monkeypatch.setenv("PDK_SMTP_SECURITY", "starttls")
    assert "smtp_security is starttls" in fault(ChannelDown)
    monkeypatch.setenv("PDK_SMTP_SECURITY", "none")
    monkeypatch.setenv("PDK_SMTP_USER", "pdk")
    monkeypatch.setenv("PDK_SMTP_PASSWORD", SECRET)
    assert "the password would be sent in the clear" in fault(ChannelDown)
    assert server.mails == []


@pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl to make a certificate with")
@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS:UserWarning")
@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_an_encrypted_login(security, monkeypatch, tmp_path):
    # Given a server that lets one user in, with a certificate of its own
    certificate, key = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    encrypted = {"ssl_context": context} if security == "tls" else {"tls_context": context, "require_starttls": True}
    login = one_user("pdk", SECRET) | {"auth_require_tls": security == "starttls"}  # it overlooks TLS from the start
    with MailServer(**encrypted, **login) as server:
        (tmp_path / "password").write_text(f"{SECRET}\n")
        password = {"SMTP_USER": "pdk", "SMTP_PASSWORD_FILE": tmp_path / "password"}
        set_server(monkeypatch, server, SMTP_SECURITY=security, **password)
        # When nothing vouches for the certificate, then the password is kept back
        assert "smtp_ca_file names a certificate to trust" in fault(ChannelDown)
        # and when it is trusted, the mail arrives under that login
        monkeypatch.setenv("PDK_SMTP_CA_FILE", str(certificate))
        assert send() == "250 taken as 1"
        assert server.mails[0].login == "pdk"
        # and a wrong password is told of, and not told
        monkeypatch.setenv("PDK_SMTP_PASSWORD", f"{SECRET}x")
        told = fault(ChannelDown)
        assert "lets pdk not in: 535" in told
        assert SECRET not in told


def test_doctor_says_what_the_mail_server_says(monkeypatch, home):
    def found():
        return [finding[1:] for finding in doctor.examine(config.load()) if finding.subject == "mail"]

    assert found() == [
        ("good", f"no server is set up; mails are written as files into {home.outbox}", "PDK_SMTP_HOST names one.")
    ]
    with MailServer() as server:
        set_server(monkeypatch, server, SMTP_SECURITY="none", MAIL_FROM="tests@example.org")
        assert found() == [
            ("good", f"127.0.0.1:{server.port} answers", "`pdk notify --test ADDRESS` sends one."),
        ]
        monkeypatch.setenv("PDK_SMTP_SECURITY", "starttls")
        ((state, text, advice),) = found()
        assert state == "bad"
        assert "STARTTLS" in text
        assert "smtp_security is starttls" in advice
    monkeypatch.delenv("PDK_MAIL_FROM")
    assert [state for state, *_ in found()] == ["bad", "odd"]
    assert server.mails == []


# Files -------------------------------------------------------------------------------------------------------


def test_without_a_mail_server_a_mail_is_a_file_and_the_same_one_when_repeated(home):
    path = send()
    assert send() == path
    assert [str(file) for file in home.outbox.iterdir()] == [path]
    assert path.rpartition("/")[2].startswith("ann@example.org-pdk_calib_daily_2026-11-23_1_newly_failing-")
    mail = email.message_from_bytes(Path(path).read_bytes(), policy=email.policy.default)
    assert mail["Message-ID"] == "<5f2e@example.org>"
    assert mail.get_body(("plain",)).get_content().replace("\r\n", "\n") == MESSAGE.text


def test_two_messages_to_the_same_person_are_two_files(home):
    send()
    send(replace(MESSAGE, message_id="other@example.org"))
    assert len(list(home.outbox.iterdir())) == 2


def test_a_subject_cannot_lead_a_file_astray(home):
    send(replace(MESSAGE, subject="../../../etc/passwd\0" + MEAN))
    (path,) = home.outbox.iterdir()
    assert path.parent == home.outbox
    assert not path.name.startswith(".")


def test_an_outbox_that_cannot_be_written_holds_up_every_mail(home):
    home.outbox.write_text("this is no directory")
    assert str(home.outbox) in fault(ChannelDown)


# Services ----------------------------------------------------------------------------------------------------


@pytest.fixture
def web_service():
    """A web service that takes JSON, with what it got and the status that it answers with."""
    got, answer = [], [200]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(answer[0])
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"json://user:{SECRET}@127.0.0.1:{server.server_port}/Token", got, answer
        server.shutdown()
        thread.join()


@needs_apprise
def test_a_service_gets_the_text(web_service):
    url, got, _ = web_service
    told = send(replace(MESSAGE, recipient=url))
    assert (got[0]["title"], got[0]["message"]) == (MESSAGE.subject, MESSAGE.text.strip())
    assert SECRET not in told
    assert "Token" not in told


@needs_apprise
def test_a_service_that_fails_may_work_later_and_its_tokens_are_not_told(web_service):
    url, _, answer = web_service
    answer[0] = 500
    told = fault(DeliveryFault, replace(MESSAGE, recipient=url))
    assert "json://…" in told
    assert SECRET not in told
    assert "Token" not in told


@needs_apprise
def test_a_service_that_nobody_knows_is_refused_for_good():
    assert "apprise knows no service nonsense://…" in fault(
        MessageRefused, replace(MESSAGE, recipient="nonsense://T0k3n")
    )


def test_without_the_library_services_wait_until_it_is_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "apprise", None)
    assert "pip install 'pdk-pipeline[apprise]'" in fault(ChannelDown, replace(MESSAGE, recipient="slack://a/b/c"))


# The registry ------------------------------------------------------------------------------------------------


def test_each_recipient_has_its_channel(monkeypatch):
    def channel(recipient, **kwargs):
        found = channels.for_recipient(config.load(), recipient, **kwargs)
        return found and found.NAME

    assert channel("ann@example.org") == "eml"
    monkeypatch.setenv("PDK_SMTP_HOST", "mail.example.org")
    assert channel("ann@example.org") == "smtp"
    assert channel("slack://a/b/c") == "apprise"
    assert channel("ann@example.org", among=["eml"]) == "eml"
    assert channel("ann@example.org", among=["apprise"]) is None


def test_a_mail_whose_server_is_no_longer_set_up_waits():
    assert "smtp is no longer set up for ann@example.org" in fault(ChannelDown, MESSAGE, "smtp")
