"""A server that holds no network conducts a run among vendors who show it none."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from federated import NAMES, data_of, federated, terms, weights
from torch import nn

import ifl
from ifl.errors import ConfigError
from ifl.vendors.traffic import read_traffic


@pytest.mark.parametrize("test", ["private", "public"])
def test_accuracies_are_those_of_the_blocks_on_the_owners_images(test: str, tmp_path: Path) -> None:
    about = federated(tmp_path, terms(rounds=4, eval_every=2, test=test))
    assert about["traffic"] == dict.fromkeys(NAMES, "equal")
    rows = pd.read_csv(tmp_path / "run" / "compositions.csv", dtype={"base": str, "modular": str})
    last = rows[rows["round"] == 4].set_index(["base", "modular"])["accuracy"]
    trained = [ifl.load(tmp_path / name / "run") for name in NAMES]
    for k, name in enumerate(NAMES):
        judged = data_of(name, test == "public").test
        for i in range(len(NAMES)):
            base, modular = trained[k].block("base", k), trained[i].block("modular", i)
            with torch.inference_mode():
                guessed = modular(base(judged.inputs())).argmax(dim=1)
            right = (guessed == judged.y).float().mean().item()
            assert last[str(k), str(i)] == pytest.approx(right, abs=1e-6)
    rounds = pd.read_csv(tmp_path / "run" / "rounds.csv")
    assert about["totals"]["uplink_bytes"] == rounds["uplink_bytes"].iloc[-1]
    assert rounds["train_loss"].notna().all()
    engine = about["engine"]
    z = sum(len(data_of(name, test == "public").test) for name in NAMES) * 8 * 4
    assert engine["evaluation_up_bytes"] > 2 * z  # of two evaluations, and in no total
    mine = read_traffic(tmp_path / "ann" / "run" / "traffic.csv", 0)
    assert mine == read_traffic(tmp_path / "run" / "traffic.csv", 0)


def test_the_server_builds_no_network_and_hears_no_losses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ifl.vendors.server import VendorServer

    built: list[str] = []
    before, conduct = nn.Module.__init__, VendorServer.run

    def noted(self: nn.Module, *args: object, **kwargs: object) -> None:
        built.append(type(self).__name__)
        before(self, *args, **kwargs)

    def served(self: VendorServer) -> object:
        with monkeypatch.context() as patch:
            patch.setattr(nn.Module, "__init__", noted)
            return conduct(self)

    monkeypatch.setattr(VendorServer, "run", served)
    federated(tmp_path, terms(rounds=2, tells=[]))
    assert built == []
    assert pd.read_csv(tmp_path / "run" / "rounds.csv")["train_loss"].isna().all()


def test_a_method_that_needs_networks_at_the_server_says_so(tmp_path: Path) -> None:
    said = "needs model of ann at the server, and a server of vendors has no network"
    with pytest.raises(ConfigError, match=said):
        federated(tmp_path, terms(method={"_target_": "ifl.methods.fl.FL", "tau": 1}))


def test_other_methods_without_a_network_at_the_server_run(tmp_path: Path) -> None:
    method = {"_target_": "ifl.methods.feddistill.FedDistill", "tau": 1}
    federated(tmp_path, terms(method=method, rounds=2, tells=["classes"]))
    assert weights(tmp_path, "ann", terms()).isfinite().all()
