"""The blocks that a run trained, loaded again, are those that it tested."""

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from conftest import DIM, EVERY, NARROW, SMALL, WIDE, Build, composed
from torch import Tensor, nn

import ifl
from ifl.cli.build import assemble
from ifl.cli.config import plain
from ifl.errors import ConfigError, IFLError
from ifl.federation.build import Federation
from ifl.federation.runner import run
from ifl.federation.schedule import Schedule
from ifl.methods.ifl import IFL
from ifl.models import SplitModel
from ifl.runs import checkpoint
from ifl.runs.folder import RunFolder
from ifl.runs.made import made

ENDS = Schedule(2, eval_every=2, checkpoint_every=5)


def accuracy_of(model: SplitModel, federation: Federation) -> float:
    x, y = federation.data.test.inputs(), federation.data.test.y
    with torch.no_grad():
        return float((model(x).argmax(dim=1) == y).sum()) / len(y)


def trained(path: Path, *overrides: str) -> Federation:
    config = composed("clients.count=3", "batch_size=4", "local.tau=2", "fusion.dim=16", *overrides)
    federation = assemble(config)
    with RunFolder(path) as folder:
        run(federation, folder, {"config": plain(config)}, ENDS)
    return federation


@pytest.mark.parametrize("option", EVERY)
def test_loaded_compositions_have_the_accuracy_of_the_run(tmp_path: Path, option: str) -> None:
    typed = f"method={option}".split()
    federation = trained(tmp_path, *typed, *NARROW)
    loaded = ifl.load(tmp_path)
    table = loaded.compositions()
    assert list(table.columns) == ["base", "modular", "accuracy"]
    assert len(table) == len(loaded.bases) * len(loaded.modulars)
    for row in table.itertuples():
        model = loaded.compose(str(row.base), str(row.modular))
        assert not model.training
        assert accuracy_of(model, federation) == row.accuracy


def test_different_networks_are_made_again_without_hydra(tmp_path: Path) -> None:
    federation = trained(tmp_path, "clients=paper", "clients.count=5", "data.shape=[1,8,8]")
    loaded = ifl.load(str(tmp_path))
    assert [*loaded.bases] == [*loaded.modulars] == ["0", "1", "2", "3", "4"]
    accuracy = loaded.compositions().set_index(["base", "modular"])["accuracy"]
    assert accuracy_of(loaded.compose(4, 1), federation) == accuracy["4", "1"]
    assert isinstance(loaded.rounds, pd.DataFrame)
    assert loaded.rounds["round"].tolist() == [1, 2]
    assert loaded.about["totals"]["rounds"] == 2
    with pytest.raises(ConfigError, match="9 has no modular block; choose one of 0, 1, 2, 3, 4"):
        loaded.compose(0, 9)


class Lazy(nn.Module):
    """A base block of one's own whose first layer learns its size from the first batch."""

    def __init__(self, fusion_dim: int, scale: float = 1.0) -> None:
        super().__init__()
        self.first, self.scale = nn.LazyLinear(fusion_dim), scale

    def forward(self, x: Tensor) -> Tensor:
        z: Tensor = self.scale * self.first(x.flatten(1))
        return z


def test_a_network_of_ones_own_is_found_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    member: dict[str, Any] = {
        "name": "own",
        "base": {"_target_": f"{__name__}.Lazy", "scale": 0.5},
        "modular": {"_target_": "torch.nn.Linear", "in_features": 16, "out_features": 10},
    }
    config = composed("clients.count=1", "batch_size=4", "local.tau=1", "fusion.dim=16")
    config.clients.members = [member]
    federation = assemble(config)
    with RunFolder(tmp_path) as folder:
        run(federation, folder, {"config": plain(config)}, ENDS)
    loaded = ifl.load(tmp_path)
    accuracy = loaded.compositions()["accuracy"].tolist()
    assert [accuracy_of(loaded.compose(0, 0), federation)] == accuracy
    assert loaded.bases["0"].scale == 0.5
    monkeypatch.setattr(Lazy, "forward", lambda self, x: 2 * self.first(x.flatten(1)))
    with pytest.warns(UserWarning, match="the code of the base block of client 0 is another one"):
        ifl.load(tmp_path)
    monkeypatch.delattr(f"{__name__}.Lazy")
    with pytest.raises(ConfigError, match="Lazy cannot be imported here .* PYTHONPATH"):
        ifl.load(tmp_path)


def test_a_run_of_python_is_loaded_with_its_members(tiny: Build, tmp_path: Path) -> None:
    with RunFolder(tmp_path) as folder:
        run(tiny(IFL(), WIDE, SMALL, count=3), folder, {}, ENDS)
    with pytest.raises(ConfigError, match=r"built in Python.*members=\[\.\.\.\]"):
        ifl.load(tmp_path)
    loaded = ifl.load(tmp_path, members=[WIDE, SMALL])
    assert loaded.compose("2", "1")(torch.zeros(1, 1, 6, 6)).shape == (1, 4)
    with pytest.raises(ConfigError, match="has other tensors than the code makes now"):
        ifl.load(tmp_path, members=[SMALL, WIDE])


def test_what_cannot_be_loaded_is_a_sentence(tiny: Build, tmp_path: Path) -> None:
    with pytest.raises(IFLError, match="holds no run.json"):
        ifl.load(tmp_path / "nothing")
    with RunFolder(tmp_path / "a") as folder:
        run(tiny(IFL()), folder, {}, Schedule(1))
    with pytest.raises(IFLError, match="keeps no trained blocks: checkpoint_every was null"):
        ifl.load(tmp_path / "a")
    with RunFolder(tmp_path / "b") as folder:
        run(tiny(IFL()), folder, {}, ENDS)
        (tmp_path / "b" / "compositions.csv").write_text("")
    with pytest.raises(IFLError, match=r"compositions\.csv is not as the run wrote it"):
        ifl.load(tmp_path / "b")


def test_networks_alone_are_kept_where_that_is_asked_for(tiny: Build, tmp_path: Path) -> None:
    sizes = {}
    for keep in (None, True, False):
        path = tmp_path / str(keep)
        with RunFolder(path) as folder:
            run(tiny(IFL(), WIDE), folder, {}, Schedule(2, checkpoint_every=5, keep_state=keep))
        last = checkpoint.newest(path)
        assert last is not None
        assert (last.state["engine"] is None) == (keep is False)
        (tensors,) = path.glob(f"checkpoint/*/{checkpoint.TENSORS}")
        sizes[keep] = tensors.stat().st_size
        assert len(ifl.load(path, members=[WIDE]).bases) == 2
    assert sizes[None] == sizes[True] > sizes[False]
    said: list[str] = []
    for source, expected in (("True", "Continuing from round 2"), ("False", "Not continued from")):
        with RunFolder(tmp_path / f"longer than {source}") as folder:
            longer = Schedule(3, checkpoint_every=5)
            run(tiny(IFL(), WIDE), folder, {}, longer, say=said.append, after=[tmp_path / source])
        assert said[-1].startswith(expected)
    assert "keep_state=true keeps all that training needs" in said[-1]
    with RunFolder(tmp_path / "False") as folder:  # and the same again is finished, not trained
        about = run(tiny(IFL(), WIDE), folder, {}, Schedule(2, checkpoint_every=5))
    assert about["finished"]


def test_what_stands_in_a_state_twice_is_kept_once(tmp_path: Path) -> None:
    weights = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    checkpoint.write(tmp_path, 1, {"a": weights, "b": [weights, weights[:500]], "c": weights + 0})
    (file,) = tmp_path.glob(f"checkpoint/*/{checkpoint.TENSORS}")
    assert 10_000 < file.stat().st_size < 11_000
    last = checkpoint.newest(tmp_path)
    assert last is not None
    assert torch.equal(last.state["b"][1], weights[:500])
    assert all(torch.equal(last.state[key], weights) for key in ("a", "c"))


def test_made_is_what_a_configuration_names() -> None:
    layer = {"_target_": "torch.nn.Linear", "in_features": DIM, "out_features": 2}
    block = {"_target_": "torch.nn.Sequential", "_args_": [layer]}
    assert repr(made(block)) == repr(nn.Sequential(nn.Linear(DIM, 2)))
    maker = made({"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.5})
    assert isinstance(maker, partial)
    assert maker.keywords == {"lr": 0.5}
    with pytest.raises(ConfigError, match=r"no\.such\.Thing cannot be imported here"):
        made({"_target_": "no.such.Thing"})
    with pytest.raises(ConfigError, match=r"torch\.nn\.Linear cannot be made with"):
        made({"_target_": "torch.nn.Linear", "width": 3})
