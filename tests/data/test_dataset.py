import json
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import QUICK, command, only_run
from conftest import TINY, composed
from omegaconf import OmegaConf

from ifl.cli.build import assemble
from ifl.data.dataset import Shard, hold_out
from ifl.errors import ConfigError
from ifl.runs.identity import fingerprint


def rows(*shards: Shard) -> list[list[int]]:
    return sorted(row for shard in shards for row in shard.x.flatten(1).tolist())


def test_what_is_held_out_and_what_is_kept_are_the_training_data() -> None:
    data = hold_out(TINY, 0.25)
    assert rows(data.train, data.test) == rows(TINY.train)
    counts = data.test.y.bincount() - 0.25 * TINY.train.y.bincount()
    assert counts.abs().max() <= 0.5
    assert data.name == "tiny, validation"
    assert hold_out(TINY, 0) is TINY


def test_every_seed_tests_on_the_same_samples_and_trains_on_none_of_them() -> None:
    first, second = (
        assemble(composed("validation=0.2", "clients=mlp_homogeneous", f"seed={seed}"))
        for seed in (0, 1)
    )
    assert torch.equal(first.data.test.x, second.data.test.x)
    dealt = [client.shard for client in first.engine.clients]
    everything = assemble(composed("clients=mlp_homogeneous")).data
    assert rows(*dealt, first.data.test) == rows(everything.train)


@pytest.mark.parametrize("fraction", [-0.1, 1, 1.5, True, "much", None, float("nan")])
def test_a_fraction_out_of_range_is_one_sentence(fraction: Any) -> None:
    with pytest.raises(ConfigError, match=f"validation must be .* got {fraction}; 0 tests on"):
        hold_out(TINY, fraction)


@pytest.mark.parametrize("fraction", [0.001, 0.999])
def test_a_fraction_that_leaves_a_part_empty_is_one_sentence(fraction: float) -> None:
    with pytest.raises(ConfigError, match=f"validation={fraction} splits 240 training samples"):
        hold_out(TINY, fraction)


def test_a_run_on_a_validation_split_says_so(tmp_path: Path) -> None:
    ended = command(tmp_path, "validation=0.2", *QUICK)
    assert ended.returncode == 0, ended.stderr
    assert "Digits, validation" in ended.stdout
    folder = only_run(tmp_path)
    assert json.loads((folder / "run.json").read_text())["data"] == "Digits, validation"


def test_a_run_on_a_validation_split_is_another_run() -> None:
    names = {fingerprint(plain(f"validation={part}")) for part in ("0", "0.0", "0.1", "0.2")}
    assert len(names) == 3


def plain(*overrides: str) -> dict[str, Any]:
    config: Any = OmegaConf.to_container(composed(*overrides), resolve=True)
    return dict(config)
