"""`pdk_environment` files, and what the tests of a directory find in their environment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pdk_pipeline.errors import BadEnvironment
from pdk_pipeline.runner.environment import Environments, Machine


class Hal(Machine):
    """A machine of our choice."""

    sections = ("default", "os=linux", "osver=debian12", "cpu=x86_64", "hostname=hal", "host=hal")


@pytest.fixture
def environment(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """The environment of tests in odyssey/jupiter: `environment(odyssey="[default]…", jupiter="…", PATH="/bin")`."""

    def make(odyssey: str = "", jupiter: str = "", **outside: str) -> dict[str, str]:
        inner = tmp_path / "odyssey" / "jupiter"
        inner.mkdir(parents=True)
        (inner.parent / "pdk_environment").write_text(odyssey)
        (inner / "pdk_environment").write_text(jupiter)
        return Environments(outside, Hal()).of(inner, tmp_path / "odyssey")

    return make


def test_the_example_of_the_documentation_does_what_it_says(environment):
    found = environment(
        odyssey="""
[default]
PDK_PROJECT = odyssey
monolith = black
doors = $podbay/doors/open.com

[hostname=hal]
podbay = /data/discovery/podbay

[hostname=mycroft]
podbay = /usr/local/moonbase/podbay
""",
        jupiter="[default]\ndoors=$podbay/doors/closed.com\n",
    )
    assert found == {
        "PDK_PROJECT": "odyssey",
        "monolith": "black",
        "podbay": "/data/discovery/podbay",
        "doors": "/data/discovery/podbay/doors/closed.com",
    }


def test_the_sections_of_a_file_apply_from_the_general_to_the_particular(environment):
    sections = ("host=hal", "cpu=x86_64", "osver=debian12", "os=linux", "default")
    text = "".join(f"[{section}]\nsaid = $said {section}\n" for section in sections)
    assert environment(odyssey=text, said="outside")["said"] == (
        "outside default os=linux osver=debian12 cpu=x86_64 host=hal"
    )


def test_a_path_grows_from_directory_to_directory(environment):
    found = environment("[default]\nPATH = /odyssey:$PATH", "[default]\nPATH = /jupiter:${PATH}", PATH="/bin")
    assert found["PATH"] == "/jupiter:/odyssey:/bin"


def test_a_variable_is_worked_out_with_what_the_inner_directory_says(environment):
    found = environment("[default]\nroot = /a\ndata = $root/data", "[default]\nroot = /b")
    assert found["data"] == "/b/data"


def test_variables_that_need_one_another_are_what_they_were_further_out(environment):
    found = environment("[default]\na = $b/a\nb = $a/b", a="A", b="B")
    assert (found["a"], found["b"]) == ("A/b/a", "B/a/b")


def test_a_variable_that_is_not_defined_and_a_dollar_stay_as_they_are_written(environment):
    found = environment("[default]\na = $nothing/x\nb = 5$$ and $ 3")
    assert (found["a"], found["b"]) == ("$nothing/x", "5$ and $ 3")


def test_the_outer_environment_is_not_interpreted(environment):
    assert environment(PS1="$HOME$ ")["PS1"] == "$HOME$ "


def test_what_is_for_other_machines_is_left_out(environment):
    assert environment("[os=sunos]\na = 1\n[cpu=sparc]\nb = 2\n") == {}


def test_names_keep_their_case_and_values_may_hold_anything(environment):
    found = environment("[DEFAULT]\nCamelCase = a=b:c # d; e\n[default]\nempty =\n")
    assert found == {"CamelCase": "a=b:c # d; e", "empty": ""}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a = 1\n", "no section headers"),
        ("[default]\nnonsense\n", "nonsense"),
        ("[colour=red]\na = 1\n", "[colour=red]"),
        ("[os]\na = 1\n", "[os]"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_with_its_path(environment, text, told):
    with pytest.raises(BadEnvironment) as caught:
        environment(odyssey=text)
    assert "odyssey/pdk_environment" in str(caught.value)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_this_machine_knows_what_it_is():
    default, os_, osver, cpu, *hosts = Machine().sections
    assert default == "default"
    assert os_ in {"os=linux", "os=darwin"}
    assert len(osver) > len("osver=")
    assert len(cpu) > len("cpu=")
    assert hosts[0].startswith("hostname=")
    assert hosts[1].startswith("host=")
