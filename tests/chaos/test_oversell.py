"""Processes want the same few units, ask twice and are killed: exactly the stock is granted."""

from pathlib import Path

import pytest

from benchmarks.oversell import Contest, Proof, prove

pytestmark = pytest.mark.slow


@pytest.mark.timeout(500)
def test_exactly_the_stock_is_granted_whoever_is_killed(database_url: str, tmp_path: Path) -> None:
    # given: 3,000 orders want 1,200 units of 3 SKUs, each order asks twice
    contest = Contest(orders=3_000, skus=3, stock=400, copies=2, seed=7, chunk=100)
    # when
    proof = prove(database_url, contest, tmp_path, processes=3, kills=6)
    # then
    assert proof == Proof(
        attempts=6_000,
        kills=6,
        granted=1_200,
        seconds=proof.seconds,
        oversold_units=0,
        units_not_granted=0,
        unexplained=0,
        positions_unlike_reservations=0,
        granted_twice=0,
    )
    assert proof.is_sound


@pytest.mark.timeout(500)
def test_whoever_asks_gets_a_unit_while_there_are_some(database_url: str, tmp_path: Path) -> None:
    contest = Contest(orders=400, skus=2, stock=500, copies=3, seed=8, chunk=50)
    proof = prove(database_url, contest, tmp_path, processes=2, kills=2)
    assert (proof.granted, proof.is_sound) == (400, True)
