"""`doms simulate --safety-stock` on files of the Olist layout and on doms's own database."""

import json
from pathlib import Path

import pytest

from starter.cli import main

OLIST = Path(__file__).parents[4] / "shared/data/olist"
needs_olist = pytest.mark.skipif(not OLIST.is_dir(), reason="the real Olist data is not here")


@needs_olist
@pytest.mark.slow
def test_real_orders_need_less_stock_when_it_is_pooled_and_the_answer_repeats(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    plot = tmp_path / "curve.png"
    asked = ["simulate", "--safety-stock", "--orders", str(OLIST), "--products", "30", "--json"]
    assert main([*asked, "--plot", str(plot)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert main(asked) == 0
    again = json.loads(capsys.readouterr().out)
    assert found["saving"] > 0.5
    assert found["saving_interval_95"][0] < found["saving"] < found["saving_interval_95"][1]
    assert found["fill_rate"] < found["fill_rate_asked"] == 0.95
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert again == {**found, "plot": None}


def test_what_to_simulate_must_be_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate"]) == 2
    assert "--safety-stock" in capsys.readouterr().err


def test_a_folder_without_orders_is_refused_in_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["simulate", "--safety-stock", "--orders", str(tmp_path)]) == 1
    assert "no orders of the Olist data set" in capsys.readouterr().err


def test_without_a_database_the_error_says_what_to_do(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["simulate", "--safety-stock", "--home", str(tmp_path)]) == 1
    assert "run `doms up` once" in capsys.readouterr().err
