"""The files for containers and for systemd say what the program can do, and the same thing."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from pdk_pipeline import config
from pdk_pipeline.config import Settings

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
SYSTEMD = ROOT / "docs" / "systemd"

COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if name != "redis"}

# Containers ---------------------------------------------------------------------------------------------------


def test_every_queue_has_its_service():
    from workers.queues import QUEUES

    named = re.findall(r"--queues=(\w+)", " ".join(service["command"] for service in OURS.values()))
    assert sorted(named) == sorted(queue.name for queue in QUEUES)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_watched_started_again_and_given_time_to_stop(name):
    service = SERVICES[name]
    assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert service["restart"] == "unless-stopped"
    assert re.fullmatch(r"\d+[ms]", service["stop_grace_period"])


@pytest.mark.parametrize("name", OURS)
def test_our_services_can_do_little_to_the_machine(name):
    service = OURS[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["volumes"] == ["home:/var/lib/pdk"]
    assert service["depends_on"] == {"redis": {"condition": "service_healthy"}}


def test_only_the_brokers_port_with_tls_is_open_to_other_machines():
    ports = {name: service.get("ports", []) for name, service in SERVICES.items()}
    assert ports.pop("redis") == ["${PDK_BROKER_LISTEN:-0.0.0.0:6380}:6380"]
    assert all(":-127.0.0.1:" in port for mapped in ports.values() for port in mapped)
    assert "tls-port 6380" in (DOCKER / "broker.conf").read_text().splitlines()


def test_secrets_come_from_files_that_make_secrets_makes():
    script = (DOCKER / "make_secrets").read_text()
    used = {secret for service in SERVICES.values() for secret in service["secrets"]}
    assert used == set(COMPOSE["secrets"])
    for name in used:
        assert COMPOSE["secrets"][name] == {"file": f"secrets/{name}"}
        assert re.search(rf"(> |-out ){name}\b", script), name
    for service in OURS.values():
        files = service["environment"]
        assert {Path(path).name for path in files.values()} == set(service["secrets"])
        assert all(variable.endswith("_FILE") for variable in files)


def test_the_image_runs_as_a_user_of_its_own_and_names_nothing_but_its_base():
    lines = (DOCKER / "Dockerfile").read_text().splitlines()
    instructions = [line.split()[0] for line in lines if line and not line.startswith(("#", " "))]
    assert instructions.index("USER") > instructions.index("RUN")
    assert "USER pdk" in lines
    assert not re.search(r"https?://|--index-url|ADD ", "\n".join(lines))
    python = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=3.")
    (base,) = [line for line in lines if line.startswith("FROM")]
    assert int(re.fullmatch(r"FROM python:3\.(\d+)-slim", base)[1]) >= int(python)


def test_everything_that_the_package_is_made_of_goes_into_the_image():
    let_in = {
        line[1:] for line in (DOCKER / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    setuptools = project["tool"]["setuptools"]
    needed = {package.removesuffix("*") for package in setuptools["packages"]["find"]["include"]}
    needed |= {f"{module}.py" for module in setuptools["py-modules"]}
    needed |= {"pyproject.toml", "constraints.txt", project["project"]["readme"], *project["project"]["license-files"]}
    assert needed <= let_in
    assert let_in - needed == {"docker/flowerconfig.py"}


def test_the_broker_keeps_what_it_is_given():
    lines = (DOCKER / "broker.conf").read_text().splitlines()
    assert {"appendonly yes", "maxmemory-policy noeviction", "aclfile /run/secrets/users"} <= set(lines)


# Settings -----------------------------------------------------------------------------------------------------


def examples() -> dict[str, str]:
    """Every variable of example.env, whether commented out or not."""
    return dict(re.findall(r"^#?(PDK_\w+)=(.*)$", (DOCKER / "example.env").read_text(), re.MULTILINE))


def test_example_env_names_every_setting():
    named = {name.removeprefix("PDK_").removesuffix("_FILE").lower() for name in examples()}
    named |= {name.removeprefix("PDK_").lower() for name in examples()}
    by_other_means = {"home", "broker_url", "flower_basic_auth", "smtp_password"}
    assert set(config.KINDS) - by_other_means <= named


def test_example_env_can_be_used_as_it_stands(monkeypatch, tmp_path):
    for name, value in examples().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PDK_SMTP_PASSWORD_FILE", str(tmp_path / "password"))
    (tmp_path / "password").write_text("secret\n")
    config.settings.cache_clear()
    settings = config.settings()
    assert config.misspelled() == {}
    assert settings.nights["daily"].hosts == ["banana", "cherry"]
    assert set(settings.keep) == {"daily", "user"}


def test_what_example_env_says_is_the_default_is_it(monkeypatch):
    text = (DOCKER / "example.env").read_text()
    of_a_kind = [part for part in re.split(r"\n(?=# )", text) if "xample" not in part.splitlines()[0]]
    defaults = Settings()
    for name, value in re.findall(r"^#(PDK_\w+)=(.*)$", "\n".join(of_a_kind), re.MULTILINE):
        monkeypatch.setenv(name, value)
        config.settings.cache_clear()
        field = name.removeprefix("PDK_").lower()
        if field not in {"import_roots", "flower_port", "metrics_port"}:  # an example is more telling than nothing
            assert getattr(config.settings(), field) == getattr(defaults, field), name


# systemd ------------------------------------------------------------------------------------------------------

UNITS = sorted(path.name for path in SYSTEMD.glob("*.service"))


def command_of(unit: str) -> str:
    """What the unit starts, as one would type it."""
    (command,) = re.findall(r"^ExecStart=((?:.*\\\n)*.*)$", (SYSTEMD / unit).read_text(), re.MULTILINE)
    return " ".join(shlex.split(command.replace("\\\n", " "))).replace("%%", "%").replace("/opt/pdk/bin/", "")


def test_there_is_a_unit_for_one_machine_and_one_for_each_part():
    parts = [unit.removeprefix("pdk-").removesuffix(".service") for unit in UNITS]
    assert parts == ["beat", "flower", "intake", "up", "worker", "writer"]


@pytest.mark.parametrize("name", ["beat", "flower", "intake", "worker", "writer"])
def test_a_unit_and_a_container_start_the_same(name):
    def apart_from_places(command: str) -> set[str]:
        return {word for word in command.split() if not word.startswith(("--address", "--conf"))}

    assert apart_from_places(command_of(f"pdk-{name}.service")) == apart_from_places(SERVICES[name]["command"])


def test_units_are_those_of_a_user_without_rights():
    common = (SYSTEMD / "pdk-.service.d" / "common.conf").read_text().splitlines()
    wanted = {"User=pdk", "NoNewPrivileges=yes", "ProtectSystem=strict", "CapabilityBoundingSet=", "Restart=always"}
    assert wanted <= set(common)
    assert all("TimeoutStopSec=" in (SYSTEMD / unit).read_text() for unit in UNITS)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd here")
def test_systemd_has_nothing_to_say_against_the_units(tmp_path):
    shutil.copytree(SYSTEMD, tmp_path / "units")
    for unit in UNITS:
        path = tmp_path / "units" / unit
        path.write_text(
            path.read_text().replace("/opt/pdk/bin/pdk", "/bin/true").replace("/opt/pdk/bin/celery", "/bin/true")
        )
    done = subprocess.run(
        ["systemd-analyze", "verify", *UNITS], cwd=tmp_path / "units", capture_output=True, text=True, timeout=60,
        check=False, env={"SYSTEMD_UNIT_PATH": f"{tmp_path / 'units'}:", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


# What the documents say ---------------------------------------------------------------------------------------


def test_the_documents_name_every_service_unit_and_user():
    install, readme = (ROOT / "docs" / "install.md").read_text(), (DOCKER / "README.md").read_text()
    assert all(f"| `{name}` |" in readme for name in SERVICES)
    assert all(unit.removesuffix(".service") in install for unit in UNITS)
    users = re.findall(r"^user (\w+) on", (DOCKER / "users.acl").read_text(), re.MULTILINE)
    assert all(f"| `{user}` |" in install for user in users)
    for text in (install, readme):
        assert {name for name in re.findall(r"PDK_\w+", text) if not name.endswith(("_FILE", "_LISTEN"))} <= {
            f"PDK_{name.upper()}" for name in config.KINDS
        }
