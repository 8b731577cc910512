"""A policy file's mistakes are told where they stand."""

import json
from pathlib import Path

import jsonschema
import pytest

from config.policy_files import check_policy, load_policy, policy_schema
from config.reading import ConfigError, read_yaml
from config.samples import SAMPLE
from starter.cli import main


def told(tmp_path: Path, text: str, kind: str | None = None) -> list[str]:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    return [str(one) for one in check_policy(path, kind).errors]


def test_every_mistake_is_told_with_line_and_column_in_the_files_order(tmp_path: Path) -> None:
    text = """\
name: bad
reroute_attempts: many
colour: red
approvals:
  - {level: 0}
  - level: 2
    role: manager
    condition: {min_total: 5.5, accounts: [a, "*"]}
timings:
  remorse: soon
  pick: -PT1H
credit_limits: {A: "1", "!": "2"}
"""

    assert told(tmp_path, text) == [
        "2:19: reroute_attempts: must be a whole number",
        "3:1: colour: unknown field",
        "5:5: approvals.0.role: must be given",
        "5:13: approvals.0.level: must be at least 1",
        "8:28: approvals.1.condition.min_total:"
        ' send money as a string, such as "19.90": a float loses cents',
        "8:47: approvals.1.condition.accounts.1: must be 1 to 64 letters, digits, '.', '_' or '-',"
        " beginning with a letter or digit",
        "10:12: timings.remorse: must be a duration, such as PT30M or P14D",
        "11:9: timings.pick: must be at least 0 seconds",
        "12:25: credit_limits.!: must be 1 to 64 letters, digits, '.', '_' or '-',"
        " beginning with a letter or digit",
    ]


def test_a_check_of_several_fields_is_told_where_they_stand(tmp_path: Path) -> None:
    text = "name: a\ntimings:\n  vendor_retry_first: PT10M\n"

    assert told(tmp_path, text) == [
        "3:3: timings: vendor_retry_longest is shorter than vendor_retry_first"
    ]


def test_a_key_that_stands_twice_is_refused_beside_other_mistakes(tmp_path: Path) -> None:
    text = "name: a\ntimings:\n  pick: P1D\n  pick: P2D\nname: b\ncolour: red\n"

    assert told(tmp_path, text, "process") == [
        "4:3: timings.pick: stands twice, first in line 3",
        "5:1: name: stands twice, first in line 1",
        "6:1: colour: unknown field",
    ]
    assert told(tmp_path, "name: a\nname: b\n") == ["2:1: name: stands twice, first in line 1"]


def test_a_key_that_yaml_takes_for_something_else_is_told_with_its_cure(tmp_path: Path) -> None:
    text = 'name: a\non: b\ncredit_limits:\n  100: "5.00"\n  "200": "5.00"\n'

    assert told(tmp_path, text, "process") == [
        '2:1: on: is no text as it stands: write "on"',
        '4:3: credit_limits.100: is no text as it stands: write "100"',
    ]


def test_what_is_merged_in_and_used_again_is_no_repetition(tmp_path: Path) -> None:
    text = """\
name: a
approvals:
  - &first {level: 1, role: manager, condition: &big {min_total: "5"}}
  - {<<: *first, level: 2, role: director}
  - {level: 3, role: owner, condition: *big}
  - {<<: *first, level: 0}
"""

    assert told(tmp_path, text) == ["6:25: approvals.3.level: must be at least 1"]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("name: [a\nb: c\n", "2:2: no YAML: expected ',' or ']', but got ':'"),
        ("name: *nowhere\n", "1:7: no YAML: found undefined alias 'nowhere'"),
        ("name: !!python/object:os.system x\n", "1:7: no YAML: could not determine a constructor"),
        ("- a\n", "1:1: a policy is a mapping that starts with `name:`"),
        ("", "1:1: a policy is a mapping that starts with `name:`"),
        ("a: b\n---\nc: d\n", "2:1: no YAML: but found another document"),
        ("a:\nb: \x07\n", "2:4: no YAML: special characters are not allowed"),
        ("? [a]\n: b\n", "1:3: no YAML: found unhashable key"),
    ],
)
def test_what_is_no_policy_document_is_told_with_its_place(
    tmp_path: Path, text: str, mistake: str
) -> None:
    [found] = told(tmp_path, text)

    assert found.startswith(mistake)


def test_a_value_that_holds_itself_is_refused_as_any_other(tmp_path: Path) -> None:
    [found] = told(tmp_path, "name: a\nkind_cost: &x {dc: *x}\n")

    assert found == '2:12: kind_cost.dc: must be an amount, such as "19.90"'


def test_loading_tells_file_line_and_field_of_every_mistake(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("name: a\nshipment_cost: cheap\nmax_shipments: 0\n")

    with pytest.raises(ConfigError) as refused:
        load_policy(path)

    assert str(refused.value) == (
        f'{path}:2:16: shipment_cost: must be an amount, such as "19.90";'
        " 3:16: max_shipments: must be at least 1"
    )


def test_a_kind_that_there_is_not_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("name: a\n")

    with pytest.raises(ConfigError, match="a policy is 'routing' or 'process', not 'other'"):
        check_policy(path, "other")
    with pytest.raises(ConfigError, match="not 'other'"):
        policy_schema("other")


@pytest.mark.parametrize("name", ["routing.yaml", "process-b2b.yaml", "process-b2c.yaml"])
def test_the_samples_are_valid_without_a_warning_and_meet_the_schema(name: str) -> None:
    checked = check_policy(SAMPLE / name)

    assert (checked.errors, checked.warnings) == ((), ())
    jsonschema.Draft202012Validator.check_schema(policy_schema(checked.kind))
    jsonschema.validate(read_yaml(SAMPLE / name), policy_schema(checked.kind))


def test_the_schema_refuses_an_unknown_field() -> None:
    with pytest.raises(jsonschema.ValidationError, match="'colour' was unexpected"):
        jsonschema.validate({"name": "a", "colour": "red"}, policy_schema("routing"))


def test_a_warning_fails_a_strict_check_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nrelax:\n  - max_shipments\n  - max_distance_km\n")

    assert main(["policy", "check", str(path)]) == 0
    assert main(["policy", "check", str(path), "--strict"]) == 1
    assert main(["policy", "check", str(path), "--json"]) == 0

    lines = capsys.readouterr().out.splitlines()
    warning = "relax.1: max_distance_km is not set: there is nothing to drop"
    assert lines[:2] == [f"{path}:4:5: {warning} (warning)", f"{path}: a valid routing policy"]
    assert json.loads(lines[-1]) == {
        "kind": "routing",
        "name": "mine",
        "ok": True,
        "errors": [],
        "warnings": [
            {
                "line": 4,
                "column": 5,
                "path": "relax.1",
                "message": "max_distance_km is not set: there is nothing to drop",
            }
        ],
    }


def test_the_schema_is_printed_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "schema", "process"]) == 0

    assert json.loads(capsys.readouterr().out) == policy_schema("process")
