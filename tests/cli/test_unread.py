"""What is set reaches what it is meant for; what nothing reads is refused."""

from typing import Any

import pytest
from conftest import composed, sweeper
from omegaconf import OmegaConf

from ifl.cli.arguments import addable
from ifl.cli.build import assemble
from ifl.cli.config import plain
from ifl.cli.unread import parameters
from ifl.errors import ConfigError
from ifl.runs.identity import fingerprint

SMALL = ["clients=mlp_homogeneous", "clients.count=2", "fusion.dim=16", "data.shape=[1,8,8]"]


def optimizers(*overrides: str) -> list[dict[str, Any]]:
    """Return the settings of the first client's two optimisers."""
    federation = assemble(composed(*SMALL, *map(addable, overrides)))
    return [optimizer.defaults for optimizer in federation.engine.clients[0].optimizers]


def loss(*overrides: str) -> float | None:
    return assemble(composed(*SMALL, "local.tau=3", *overrides)).engine.round(1).train_loss


def test_what_both_optimisers_share_is_set_once() -> None:
    for settings in optimizers("optimizer.weight_decay=0.5", "optimizer.momentum=0"):
        assert settings["weight_decay"] == 0.5
        assert settings["momentum"] == 0
    base, modular = optimizers("++optimizer.nesterov=true", "+optimizer.base.nesterov=false")
    assert (base["nesterov"], modular["nesterov"]) == (False, True)
    for settings in optimizers("optimizer=adam", "++optimizer.betas=[0.8,0.9]"):
        assert [*settings["betas"]] == [0.8, 0.9]
    assert loss("++optimizer.weight_decay=0.5") != loss()


def test_what_is_set_for_both_is_another_run() -> None:
    told = fingerprint(plain(composed("++optimizer.weight_decay=0.5")))
    assert told != fingerprint(plain(composed()))


@pytest.mark.parametrize("prefix", ["", "+", "++"])
def test_a_plus_is_not_needed_in_a_sweep_either(prefix: str) -> None:
    typed = sweeper().jobs([addable(f"{prefix}optimizer.weight_decay=0.1,0.2"), "seed=0"])
    assert [job[0].lstrip("+") for job in typed] == [
        "optimizer.weight_decay=0.1", "optimizer.weight_decay=0.2",
    ]  # fmt: skip
    assert addable("optimizer.lr=0.1") == "optimizer.lr=0.1"
    assert addable("optimizer=adam") == "optimizer=adam"
    grid = sweeper(params={"optimizer.weight_decay": "0,0.1"}).jobs([])
    assert [job[0] for job in grid] == [
        "++optimizer.weight_decay=0", "++optimizer.weight_decay=0.1",
    ]  # fmt: skip


def test_keys_of_ones_own_are_read_by_an_interpolation() -> None:
    config = composed(*SMALL)
    OmegaConf.set_struct(config, False)
    config.my = {"lr": 0.3, "unused": 1}
    config.optimizer.lr = "${my.lr}"
    with pytest.raises(ConfigError, match=r"my\.unused is a key that nothing reads"):
        assemble(config)
    del config.my["unused"]
    federation = assemble(config)
    assert federation.engine.clients[0].base_optimizer.defaults["lr"] == 0.3


def test_a_yaml_of_ones_own_is_checked_alike() -> None:
    config = composed(*SMALL)
    OmegaConf.set_struct(config, False)
    config.partition = {"_target_": "ifl.data.partition.Dirichlet", "alpha": 1, "alfa": 2}
    with pytest.raises(ConfigError, match=r"partition\.alfa is a key .* mean partition\.alpha\?"):
        assemble(config)


def anything(**settings: object) -> None:
    """Take any keyword."""


def test_what_takes_any_keyword_or_is_not_known_reads_all() -> None:
    assert parameters(f"{__name__}.anything") is None
    assert parameters("no.such.Thing") is None
    assert parameters("torch.optim.SGD", filled=True) is not None
    assert "params" not in (parameters("torch.optim.SGD", filled=True) or ())
