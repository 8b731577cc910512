"""Boosted trees: what they learn, what they do with missing values, compiled and not."""

from typing import Any

import numpy as np
import pytest

from domain import boosting
from domain.boosting import Settings, learn, predict

QUICK = Settings(trees=60, depth=2, shrinkage=0.2, leaf_prior=1.0, least_weight=5.0, columns=1.0)


def step(count: int = 400) -> tuple[Any, Any]:
    x = np.column_stack(
        [np.repeat(np.linspace(0, 1, 40), count // 40), np.full(count, np.nan), np.ones(count)]
    )
    return x, np.where(x[:, 0] < 0.3, 1.0, 5.0)


def test_a_step_is_learned_from_the_one_column_that_tells_it() -> None:
    x, y = step()
    forest = learn(x, y, np.ones(len(y)), QUICK, seed=1)
    assert predict(forest, x) == pytest.approx(y, abs=0.1)
    assert set(np.unique(forest.columns)) == {-1, 0}


def test_missing_values_are_learned_as_a_value_of_their_own() -> None:
    x, y = step()
    x[::4, 0] = np.nan
    y[::4] = 9.0
    forest = learn(x, y, np.ones(len(y)), QUICK, seed=1)
    unknown = np.array([[np.nan, np.nan, 1.0]])
    assert predict(forest, unknown)[0] == pytest.approx(9.0, abs=0.3)


def test_rows_of_no_weight_teach_nothing() -> None:
    x, y = step()
    weights = np.where(x[:, 0] < 0.5, 1.0, 0.0)
    y[200:] = 100.0
    forest = learn(x, y, weights, QUICK, seed=1)
    assert predict(forest, x).max() < 6.0


def test_the_same_seed_learns_the_same_forest_and_another_one_another() -> None:
    x, y = step()
    y = y + np.sin(40 * x[:, 0])
    one, same, other = (learn(x, y, np.ones(len(y)), QUICK, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.values, same.values)
    assert not np.array_equal(one.values, other.values)


def test_machine_code_grows_and_applies_the_same_trees_as_the_python_it_was_made_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, y = step(120)
    y = y + np.sin(9 * x[:, 0])
    few = QUICK._replace(trees=3, depth=4, least_weight=15.0)
    compiled = learn(x, y, np.ones(len(y)), few, seed=3)
    for name in ("_grow", "_best_split", "_add_tree"):
        monkeypatch.setattr(boosting, name, getattr(boosting, name).py_func)
    plain = learn(x, y, np.ones(len(y)), few, seed=3)
    assert np.array_equal(plain.columns, compiled.columns)
    assert np.array_equal(plain.cuts, compiled.cuts)
    assert plain.values == pytest.approx(compiled.values, abs=1e-12)
    assert predict(plain, x) == pytest.approx(predict(compiled, x), abs=1e-12)
