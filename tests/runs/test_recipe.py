"""What a configuration is composed from: also what it takes from the environment."""

from pathlib import Path

import pytest

from ifl.runs.identity import recipe


def of(*overrides: str, folder: Path | None = None) -> str:
    return recipe(overrides, "config", [str(folder)] if folder else [])


@pytest.mark.parametrize(
    "typed",
    [
        "seed=${oc.env:SEED}",
        "seed=${oc.env:SEED,0}",
        "seed=$\\{oc.env\\:SEED\\}",
        "seed=${ oc.env : 'SEED' , 3}",
        "seed=${oc.decode:${oc.env:SEED}}",
        "seed=${oc.env:NONE,${oc.env:SEED}}",
        "batch_size=${oc.select:batch,${oc.env:SEED}}",
    ],
)
def test_a_variable_counts_with_its_value(typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = set()
    for value in ("1", "2"):
        monkeypatch.setenv("SEED", value)
        assert of(typed) == of(typed)
        found.add(of(typed))
    monkeypatch.delenv("SEED")
    assert len({*found, of(typed)}) == 3


def test_it_counts_in_a_file_too_and_another_variable_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own.yaml").write_text("seed: ${oc.env:SEED}\n")
    monkeypatch.setenv("SEED", "1")
    first = of("rounds=3", folder=tmp_path)
    monkeypatch.setenv("TEED", "1")
    assert of("rounds=3", folder=tmp_path) == first
    monkeypatch.setenv("SEED", "2")
    assert of("rounds=3", folder=tmp_path) != first


@pytest.mark.parametrize(
    "typed",
    [
        "study=${now:%Y-%m-%d}",
        "seed=${hydra:job.num}",
        "seed=${random:}",
        "seed=${my.own:3}",
        "seed=${oc.env:${name}}",
        "seed=${oc.env:MY-SEED}",
    ],
)
def test_what_cannot_be_known_is_like_nothing_else(typed: str) -> None:
    assert of(typed) != of(typed)


@pytest.mark.parametrize("typed", ["seed=3", "rounds=${seed}", "seed=${oc.select:rounds,2}"])
def test_what_is_known_is_like_itself(typed: str) -> None:
    assert of(typed) == of(typed)
