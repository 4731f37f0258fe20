"""Metrics by class against scikit-learn's, and accuracy on a class mix against samples."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import CLASSES, SMALL, WIDE, Build
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

import ifl
from ifl.data.partition import Classes
from ifl.engines.testing import tallied
from ifl.federation.class_counts import ClassCounts, accuracy_own, metrics
from ifl.federation.runner import run
from ifl.federation.schedule import Schedule
from ifl.methods.fl import FL
from ifl.methods.ifl import IFL
from ifl.runs.folder import RunFolder


def counted(labels: np.ndarray, guesses: np.ndarray, classes: int) -> ClassCounts:
    logits = torch.nn.functional.one_hot(torch.from_numpy(guesses), classes).float()
    return ClassCounts(*tallied(logits, torch.from_numpy(labels)).numpy())


@pytest.mark.parametrize("seed", range(5))
def test_balanced_accuracy_and_f1_are_scikit_learns(seed: int) -> None:
    draws = np.random.default_rng(seed)
    labels = draws.choice([0, 1, 3], 50, p=[0.7, 0.2, 0.1])  # class 2 has no test samples
    guesses = np.where(draws.random(50) < 0.6, labels, draws.integers(0, 5, 50))
    counts = counted(labels, guesses, 6)
    with np.errstate(all="ignore"):
        there = np.isin(guesses, labels)  # scikit-learn warns of guesses that are no label
        assert counts.correct.sum() / 50 == accuracy_score(labels, guesses)
        recalls = [(guesses[labels == c] == c).mean() for c in np.unique(labels)]
        assert counts.balanced_accuracy == pytest.approx(np.mean(recalls))
        if there.all():
            expected = balanced_accuracy_score(labels, guesses)
            assert counts.balanced_accuracy == pytest.approx(expected)
    f1 = f1_score(labels, guesses, average="macro", zero_division=0)
    assert counts.macro_f1 == pytest.approx(f1)


def test_accuracy_on_a_mix_is_that_of_samples_drawn_so() -> None:
    draws = np.random.default_rng(0)
    labels = draws.integers(0, 3, 300)
    guesses = np.where(draws.random(300) < np.array([0.9, 0.5, 0.1])[labels], labels, 3)
    counts = counted(labels, guesses, 4)
    shares = np.array([30, 10, 0, 5])  # class 3 is not in the test set
    drawn = [draws.choice(np.flatnonzero(labels == c), 40_000 * n) for c, n in ((0, 3), (1, 1))]
    places = np.concatenate(drawn)
    expected = (guesses[places] == labels[places]).mean()
    assert counts.accuracy_on(shares) == pytest.approx(expected, abs=0.005)
    assert counts.accuracy_on(np.array([0, 0, 0, 7])) is None


def test_a_composition_is_for_the_owner_of_its_base_block() -> None:
    counts = counted(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 0]), 2)
    table = np.array([[5, 0], [1, 3]])
    assert accuracy_own(("0", "1"), counts, table) == 1
    assert accuracy_own(("1", "0"), counts, table) == 0.25
    assert accuracy_own(("server", "1"), counts, table) == 0.25
    assert accuracy_own(("server", "server"), counts, table) == 0.625
    (found,) = metrics({("1", "0"): counts}, table).values()
    assert found == pytest.approx((0.5, 1 / 3, 0.25))


def test_a_run_writes_them_beside_its_compositions(tiny: Build, tmp_path: Path) -> None:
    federation = tiny(IFL(tau=3), WIDE, SMALL, count=2, partition=Classes(per_client=2))
    with RunFolder(tmp_path) as folder:
        about = run(federation, folder, {}, Schedule(4, eval_every=2))
    kinds = {"base": str, "modular": str}
    found = pd.read_csv(tmp_path / "metrics.csv", dtype=kinds)
    assert found["round"].tolist() == [2] * 4 + [4] * 4
    last = found[found["round"] == 4]
    assert about["result"]["macro_f1"] == pytest.approx(last["macro_f1"].mean())
    local = last[last["base"] == last["modular"]]
    assert about["result"]["accuracy_own"] == pytest.approx(local["accuracy_own"].mean())
    classes = pd.read_csv(tmp_path / "classes.csv", dtype=kinds)
    assert len(classes) == 4 * CLASSES
    sums = classes.groupby(["base", "modular"])[["samples", "guessed", "correct"]].sum()
    tested = len(federation.data.test)
    assert (sums["samples"] == tested).all()
    assert (sums["guessed"] == tested).all()
    compositions = pd.read_csv(tmp_path / "compositions.csv", dtype=kinds)
    accuracy = compositions[compositions["round"] == 4].set_index(["base", "modular"])["accuracy"]
    assert (sums["correct"] / tested == accuracy).all()


def test_one_network_for_all_is_tested_on_the_mix_of_each(tiny: Build, tmp_path: Path) -> None:
    federation = tiny(FL(tau=2), SMALL, count=2, partition=Classes(per_client=2))
    with RunFolder(tmp_path) as folder:
        about = run(federation, folder, {}, Schedule(1))
    (own,) = pd.read_csv(tmp_path / "metrics.csv")["accuracy_own"]
    assert about["result"]["accuracy_own"] == own


def test_predictions_are_kept_where_that_is_asked_for(tiny: Build, tmp_path: Path) -> None:
    federation = tiny(IFL(tau=3), SMALL, WIDE, count=2)
    with RunFolder(tmp_path) as folder:
        run(federation, folder, {}, Schedule(1, checkpoint_every=5, keep_predictions=True))
    trained = ifl.load(tmp_path, members=[SMALL, WIDE])
    table = trained.predictions()
    assert len(table) == 4 * len(federation.data.test)
    right = (table["guess"] == table["label"]).groupby([table["base"], table["modular"]]).mean()
    accuracy = trained.compositions().set_index(["base", "modular"])["accuracy"]
    assert right.to_dict() == accuracy.to_dict()
    (tmp_path / "predictions.safetensors").unlink()
    with pytest.raises(ifl.IFLError, match="keep_predictions=true does"):
        trained.predictions()
