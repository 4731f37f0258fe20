"""Wrong agreed.yaml and vendor.yaml are one sentence, before anybody is called."""

import json
import sys
from pathlib import Path

import pytest

from ifl.__main__ import main

AGREED = {"parties": ["ann", "ben"], "classes": 10, "fusion_dim": 8, "rounds": 2}
BLOCKS = {"base": {"_target_": "ifl.models.mlp_base"}, "modular": {"_target_": "ifl.models.x"}}
VENDOR = {
    "name": "ann",
    "agreed": "agreed.yaml",
    "server": "127.0.0.1:7440",
    "certificates": "certificates/ann",
    "seed": 1,
    "data": "breast_cancer",
    "network": BLOCKS,
    "optimizer": {"_target_": "torch.optim.SGD", "lr": 0.1},
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rouds": 3}, "rouds is no key of it; it has parties, classes, fusion_dim, rounds, "),
        ({"rounds": None}, "rounds must be a whole number >= 1, got null"),
        ({"parties": ["Ann"]}, "a party's name must be of a to z, 0 to 9 and - within, "),
        ({"parties": ["ann", "ann"]}, "parties must be names, none twice, got ['ann', 'ann']"),
        ({"parties": ["server"]}, "parties: server is the server's name; choose another one"),
        ({"on_lost": "wait"}, "on_lost must be one of stop, skip, rejoin, got wait"),
        ({"test": "both"}, "test must be one of private, public, got both"),
        (
            {"settings": ["seed=3"]},
            "settings must be method.KEY=value or codec.KEY=value, got seed",
        ),
        ({"tau": 0}, "local.tau must be a whole number >= 1, got 0"),
    ],
)
def test_terms(
    changes: dict[str, object],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "agreed.yaml").write_text(json.dumps({**AGREED, **changes}))
    typed = ["ifl", "server", str(tmp_path / "agreed.yaml"), "--certificates", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", typed)
    assert main() == 1
    assert capsys.readouterr().err.startswith(f"Error: {tmp_path / 'agreed.yaml'}: {said}")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sed": 3}, "sed is no key of vendor.yaml; it has "),
        ({"seed": -1}, "seed must be a whole number >= 0, got -1"),
        ({"network": {"base": {}}}, "network must have base and modular, got {'base': {}}"),
        ({"agreed": "nowhere.yaml"}, "nowhere.yaml cannot be read ("),
        ({}, "data has 2 classes, and agreed.yaml says 10; number them as was agreed on, and "),
        ({"name": "dora"}, "name dora is not among the parties of agreed.yaml: ann, ben"),
    ],
)
def test_settings_of_a_vendor(
    changes: dict[str, object],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "agreed.yaml").write_text(json.dumps(AGREED))
    (tmp_path / "vendor.yaml").write_text(json.dumps({**VENDOR, **changes}))
    monkeypatch.setattr(sys, "argv", ["ifl", "vendor", str(tmp_path / "vendor.yaml")])
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert main() == 1
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
