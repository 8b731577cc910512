"""Cases beside policies: the samples' come out as they say, and wrong ones say what came out."""

import json
from pathlib import Path

import pytest

from config.samples import SAMPLE
from starter.cli import main
from starter.policy_cases import SUFFIX, run_cases

SAMPLES = sorted(SAMPLE.rglob(f"*{SUFFIX}"))


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_every_case_of_the_samples_comes_out_as_it_says(path: Path) -> None:
    outcomes = run_cases(path)

    assert [one.wrong for one in outcomes] == [()] * len(outcomes)
    assert len({one.name for one in outcomes}) == len(outcomes) > 0


def test_each_sample_policy_has_cases() -> None:
    policies = {"routing", "process-b2b", "process-b2c"}

    assert policies <= {path.name.removesuffix(SUFFIX) for path in SAMPLES}


POLICY = """\
name: mine
order_types: [b2b]
approvals:
  - {level: 2, role: director, condition: {min_total: "100"}}
  - {level: 1, role: manager}
hold_stock_during_approval: true
timings: {remorse: PT1H}
automation:
  - {name: greet, event: accepted, do: notify}
  - {name: big, event: accepted, do: notify, when: {min_total: "200"}}
"""
ORDER = "{lines: [{sku: MUG-BLUE, quantity: 1, unit_price: '100'}]}"


def test_a_process_case_that_comes_out_wrong_says_what_came_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text(POLICY)
    (tmp_path / "mine.cases.yaml").write_text(
        f"""\
policy: mine.yaml
cases:
  - name: right
    order: {ORDER}
    expect:
      approvals: [manager, director]
      automation: [greet]
      held_for_payment: false
      reserved_before_approval: true
      reroute_attempts: 5
      backorder: cancel
      timings: {{remorse: PT1H, pick: P2D}}
  - name: wrong
    order: {ORDER}
    expect:
      approvals: []
      automation: [big]
      held_for_payment: true
      reserved_before_approval: false
      reroute_attempts: 4
      backorder: ask
      timings: {{remorse: PT30M, acknowledgement_by_people: PT1H}}
"""
    )

    assert main(["policy", "test", str(tmp_path / "mine.yaml"), "--json"]) == 1

    right, wrong = json.loads(capsys.readouterr().out)["cases"]
    assert right == {"name": "right", "passed": True, "wrong": []}
    assert wrong["wrong"] == [
        "approvals: manager, director, expected nobody",
        "automation: greet, expected big",
        "held_for_payment: no, expected yes",
        "reserved_before_approval: yes, expected no",
        "reroute_attempts: 5, expected 4",
        "backorder: cancel, expected ask",
        "remorse: 1:00:00, expected 0:30:00",
        "acknowledgement_by_people: not set, expected 1:00:00",
    ]


def test_an_order_that_names_its_type_is_of_that_type(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(POLICY)
    (tmp_path / "mine.cases.yaml").write_text(
        "policy: mine.yaml\ncases: [{name: a, order: {order_type: b2c, lines: [{sku: MUG-BLUE,"
        " quantity: 1}]}, expect: {approvals: []}}]\n"
    )

    [outcome] = run_cases(tmp_path / "mine.yaml")

    assert outcome.passed


@pytest.mark.parametrize(
    ("cases", "error"),
    [
        ("cases: []\n", ":2:8: cases: must hold at least 1, not 0"),
        (
            "cases:\n  - {name: a, order: {}, expect: {timings: {nap: PT1H}}}\n",
            ":3:50: cases.0.expect.timings.nap: there is no such wait",
        ),
        (
            "cases:\n  - {name: a, stock: {}}\n",
            ":3:5: cases.0.order: must be given; 3:5: cases.0.expect: must be given;"
            " 3:15: cases.0.stock: unknown field",
        ),
        (
            "cases:\n  - {name: a, order: {lines: [{sku: NONE, quantity: 1}]}, expect: {}}\n",
            ": case 'a': no product 'NONE' in the network",
        ),
        (
            "cases:\n  - {name: a, order: {currency: CHF, lines: [{sku: MUG-BLUE,"
            " quantity: 1}]}, expect: {}}\n",
            ": case 'a': no exchange rate from CHF to USD",
        ),
        ("cases: []\ncases: []\n", ":3:1: cases: stands twice, first in line 2"),
        ("cases: [\n", ":3:1: no YAML: expected the node content"),
    ],
)
def test_a_broken_process_case_is_named_with_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cases: str, error: str
) -> None:
    (tmp_path / "mine.yaml").write_text(POLICY)
    path = tmp_path / "mine.cases.yaml"
    path.write_text(f"policy: mine.yaml\n{cases}")

    assert main(["policy", "test", str(path)]) == 1

    assert f"{path}{error}" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["cases: []\n", "- a\n", "policy: [a]\n"])
def test_a_file_of_cases_must_name_its_policy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    path = tmp_path / "mine.cases.yaml"
    path.write_text(text)

    assert main(["policy", "test", str(path)]) == 1

    assert f"{path}: name the policy's file: `policy: FILE`" in capsys.readouterr().err


def test_a_case_says_which_strategy_and_steps_came_out_instead(tmp_path: Path) -> None:
    (tmp_path / "rich.yaml").write_text(
        "name: rich\n"
        "filters: {kinds: [dc]}\n"
        "after: [{relax: [kinds]}, customer_care]\n"
        "strategies: [{name: shop, when: {channels: [shop]}}]\n"
    )
    (tmp_path / "rich.cases.yaml").write_text(
        """\
policy: rich.yaml
cases:
  - name: wrong
    at: 2026-05-04T15:00:00Z
    order:
      ship_groups: [{id: "1", address: {country: US, region: MA}}]
      lines: [{sku: MUG-BLUE, quantity: 2}]
    stock: {MUG-BLUE: {store-chicago: 1}}
    expect: {strategy: shop, relaxed: [], after: backorder}
  - name: right
    at: 2026-05-04T15:00:00Z
    order:
      ship_groups: [{id: "1", address: {country: US, region: MA}}]
      lines: [{sku: MUG-BLUE, quantity: 2}]
    stock: {MUG-BLUE: {store-chicago: 1}}
    expect: {strategy: default, relaxed: [kinds], after: customer_care}
"""
    )

    outcomes = run_cases(tmp_path / "rich.yaml")

    assert [one.wrong for one in outcomes] == [
        (
            "strategy 'default', expected 'shop'",
            "relaxed kinds, expected nothing",
            "after that 'customer_care', expected 'backorder'",
        ),
        (),
    ]
