"""The lock file holds what is tested together: the versions of the constraints, within the ranges of the package."""

from __future__ import annotations

import re
import tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

LINE = re.compile(r"(?P<name>[\w.-]+)==(?P<version>[\w.+]+) --hash=sha256:[0-9a-f]{64}")


def locked() -> dict[str, str]:
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
    found = [LINE.fullmatch(line) for line in lines]
    assert all(found), "a line that is no name==version with one hash"
    return {canonicalize_name(each["name"]): each["version"] for each in found if each}


def locked_extras() -> set[str]:
    """Those that `make lock` names."""
    recipe = (ROOT / "Makefile").read_text().partition("\nlock:")[2].partition("\n\n")[0]
    return set(re.findall(r"\.\[([\w,]+)\]", recipe)[0].split(","))


def test_every_dependency_is_locked_within_its_range() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    # Spark needs Java and half a gigabyte: `make test` does without
    assert set(extras) - locked_extras() == {"spark"}
    wanted = [*project["dependencies"], *(each for extra in sorted(locked_extras()) for each in extras[extra])]
    versions = locked()
    for requirement in map(Requirement, wanted):
        version = versions.get(canonicalize_name(requirement.name))
        assert version and requirement.specifier.contains(version, prereleases=True), f"run `make lock`: {requirement}"


def test_the_lock_has_the_versions_of_the_constraints() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line and line[0] != "#"]
    constrained = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}
    for name, version in locked().items():
        assert version.split("+")[0] == constrained[name].split("+")[0], f"run `make lock`: {name}"
