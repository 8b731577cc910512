"""The documents name only what there is: settings, commands, paths, policy fields, files."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from temporalio import workflow

from config.settings import Settings
from domain.process_policy import ApprovalCondition, ProcessPolicy, Timings
from domain.routing.conditions import Condition, ProductMatch
from domain.routing.policy import RoutingPolicy
from domain.routing.strategy import Constraints, Criteria, Filters, Strategy
from domain.stages import Choice
from starter.api.app import create_app
from starter.cli import app
from starter.commands.stack import SIMULATORS
from store.engine import open_engine
from tests.unit.deployment.files import ROOT
from workflows.fulfillment import FulfillmentWorkflow
from workflows.order import OrderWorkflow
from workflows.search_attributes import SEARCH_ATTRIBUTES

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CODE = re.compile(r"`([^`\n]+)`|^ {4}(.+)$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")
NAMED = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def text_of(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def code_in(document: Path) -> Iterator[str]:
    for inline, block in CODE.findall(document.read_text()):
        yield (inline or block).partition("  #")[0]


def named(text: str) -> set[str]:
    """The words in backticks."""
    return {word for code in re.findall(r"`([^`\n]+)`", text) for word in re.split(r"[\s,]+", code)}


def options_of(words: list[str]) -> set[str]:
    """The options of the command that these words begin with. Fails when there is none."""
    command: Any = typer.main.get_command(app)
    while words and hasattr(command, "commands"):
        assert words[0] in command.commands, f"there is no command {words[0]!r}"
        command = command.commands[words.pop(0)]
    return {option for parameter in command.params for option in parameter.opts} | {
        option for parameter in command.params for option in parameter.secondary_opts
    }


@NAMED
def test_every_command_exists_with_its_options(document: Path) -> None:
    for code in code_in(document):
        for found in re.finditer(r"(?:^|[ ;&(])doms ((?:[a-z-]+ ?)+.*)", code):
            words = found[1].split()
            if words[0] in {"simulators", "--help"}:
                continue
            asked = {word.strip("[]") for word in words if word.strip("[]").startswith("--")}
            known = options_of([word for word in words if not word.startswith("[")])
            assert asked <= known, f"{code}: {asked - known}"


@NAMED
def test_every_link_leads_to_a_file(document: Path) -> None:
    for target in LINK.findall(document.read_text()):
        # A screenshot is taken from a running demo, not kept by those who write the text.
        if not target.startswith("http") and not target.endswith(".png"):
            assert (document.parent / target).exists(), target


@NAMED
def test_every_variable_is_a_setting(document: Path) -> None:
    known = {f"DOMS_{name.upper()}" for name in Settings.model_fields} | {"DOMS_DEBUG"}

    assert set(re.findall(r"DOMS_[A-Z_]+[A-Z]", document.read_text())) <= known


def test_operations_name_every_setting_and_choice() -> None:
    words = named(text_of("operations.md"))

    assert {f"DOMS_{name.upper()}" for name in Settings.model_fields} <= words
    assert {choice.value for choice in Choice} <= words


def test_the_path_of_every_api_example_is_served(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'doms.db'}")
    served = create_app(Settings(home=tmp_path), engine).openapi()["paths"]
    patterns = [re.compile(re.sub(r"\{\w+\}", "[^/]+", path)) for path in served]
    text = re.sub(r"\$[A-Z]\b", "x", text_of("api.md").replace("$A", "/v1"))
    asked = re.findall(r"(/v1/[\w/.{}-]+)", text)

    assert len(asked) > 25
    for path in asked:
        filled = re.sub(r"\{\w+\}|-\.\.\.", "x", path).rstrip(".")
        assert any(pattern.fullmatch(filled) for pattern in patterns), path


def test_policies_name_every_field() -> None:
    words = named(text_of("policies.md"))
    words |= {f"assumed_km{word}" for word in words if word.startswith("_")}

    sections = (Strategy, Condition, ProductMatch, Filters, Criteria, Constraints)
    for model in (RoutingPolicy, *sections, ProcessPolicy, Timings):
        assert set(model.model_fields) <= words
    assert set(ApprovalCondition.model_fields) <= named(text_of("approvals.md"))


def test_architecture_names_every_message_and_attribute() -> None:
    words = named(text_of("architecture.md"))

    assert set(SEARCH_ATTRIBUTES) <= words
    for defined in (OrderWorkflow, FulfillmentWorkflow):
        definition = workflow._Definition.must_from_class(defined)
        assert {*definition.signals, *definition.updates} <= words
        assert {x for x in definition.queries if x and not x.startswith("__")} <= words


def test_every_simulator_is_described() -> None:
    assert set(SIMULATORS) <= named(text_of("simulators.md"))
