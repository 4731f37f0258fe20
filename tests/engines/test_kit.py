"""What FLARE is told lets it run two classes of ours, and no code and no setting of a job."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from conftest import ROOT
from tunnels import short_folder

from ifl.__main__ import main
from ifl.engines.flare.kit import SERVER, SITE
from ifl.engines.flare.local import read_server, read_site
from ifl.engines.flare.needed import check_installed
from ifl.errors import ConfigError

ALLOWED = ["nvflare.app_common.np.np_trainer.NPTrainer"]
RIGHTS = {"project_admin": "any", "lead": {"submit_job": "any", "byoc": "any"}}
STORE = {"args": {"root_dir": "/tmp/nvflare/snapshot-storage", "max_jobs": 4}}


def kit(place: Path, kind: str) -> Path:
    """Return a folder like one that nvflare provision makes."""
    files: dict[str, Any] = {
        f"startup/fed_{kind}.json": {},
        "local/resources.json.default": {
            "class_allow_list": ALLOWED,
            "allow_log_streaming": True,
            "components": [STORE],
        },
        "local/authorization.json.default": {"permissions": RIGHTS},
    }
    for name, said in files.items():
        path = place / kind / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(said))
    return place / kind


def typed(*words: str) -> int:
    sys.argv = ["ifl", "flare", *words]
    return main()


@pytest.fixture(autouse=True)
def argv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", sys.argv)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.mark.skipif(sys.platform == "win32", reason="has no Unix sockets")
def test_a_site_runs_one_class_and_tells_no_log(tmp_path: Path) -> None:
    folder = kit(tmp_path, "client")
    assert typed("site", str(folder), "--socket", "/run/ifl/ann") == 0
    resources = read(folder / "local" / "resources.json")
    assert resources["class_allow_list"] == [SITE]
    assert resources["class_list_enforcement_mode"] == "enforce"
    assert resources["allow_log_streaming"] is False
    assert resources["components"] == [STORE]
    rights = read(folder / "local" / "authorization.json")["permissions"]
    for role in ("project_admin", "lead"):
        assert rights[role]["submit_job"] == "any"
        for right in ("byoc", "shell_commands", "server-predeployed-flwr"):
            assert rights[role][right] == "none"
    assert read_site(folder / "local").socket == "/run/ifl/ann"


def test_a_server_keeps_its_jobs_to_itself(tmp_path: Path) -> None:
    folder = kit(tmp_path, "server")
    assert typed("server", str(folder), "--address", "127.0.0.1:7441", "--gone", "9") == 0
    resources = read(folder / "local" / "resources.json")
    assert resources["class_allow_list"] == [SERVER]
    kept = resources["components"][0]["args"]["root_dir"]
    assert kept == f"{folder.resolve() / 'kept'}/snapshot-storage"
    own = read_server(folder / "local")
    assert (own.server, own.wait, own.gone) == ("127.0.0.1:7441", 600, 9)


def test_a_job_brings_neither_code_nor_settings(tmp_path: Path) -> None:
    assert typed("job", str(tmp_path / "job"), "--sites", "ann", "ben") == 0
    found = {str(p.relative_to(tmp_path / "job")) for p in (tmp_path / "job").rglob("*.*")}
    config = Path("app") / "config"
    server, client = config / "config_fed_server.json", config / "config_fed_client.json"
    assert found == {"meta.json", str(server), str(client)}
    meta = read(tmp_path / "job" / "meta.json")
    assert meta["deploy_map"] == {"app": ["server", "ann", "ben"]}
    assert meta["min_clients"] == 2
    (flow,) = read(tmp_path / "job" / server)["workflows"]
    (executor,) = read(tmp_path / "job" / client)["executors"]
    assert (flow["path"], flow["args"]) == (SERVER, {})
    assert executor["executor"] == {"path": SITE, "args": {}}


@pytest.mark.skipif(sys.platform == "win32", reason="has no Unix sockets")
def test_the_page_sets_up_the_kits_of_its_project(monkeypatch: pytest.MonkeyPatch) -> None:
    with short_folder() as place, monkeypatch.context() as there:
        there.chdir(place)
        set_up(place)


def set_up(place: Path) -> None:
    page = (ROOT / "docs" / "flare.md").read_text(encoding="utf-8")
    project = yaml.safe_load(page.partition('title="project.yml"\n')[2].partition("```")[0])
    kits = place / "kits" / project["name"] / "prod_00"
    for participant in project["participants"]:
        kit(kits, participant["type"]).rename(kits / participant["name"])
    lines = [line.split() for line in page.splitlines() if line.startswith("ifl flare ")]
    assert [typed(*words[2:]) for words in lines] == [0] * 5
    sites = [p["name"] for p in project["participants"] if p["type"] == "client"]
    assert read(place / "job" / "meta.json")["deploy_map"]["app"] == ["server", *sites]
    for name in sites:
        assert read_site(kits / name / "local").socket == str(place / name / "socket" / "ifl")


def test_the_classes_that_are_allowed_are_there() -> None:
    from importlib import import_module

    for path in (SITE, SERVER):
        module, _, name = path.rpartition(".")
        assert isinstance(getattr(import_module(module), name), type)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["site", "{}/server", "--socket", "/run/ifl"],
            "{}/server holds no startup/fed_",
        ),
        (
            ["server", "{}/client"],
            "{}/client holds no startup/fed_server.json; ",
        ),
        (["server", "{}/server", "--address", "7440"], "address must be HOST:PORT such as"),
        (["job", "{}/client"], "{}/client is there already; name another folder"),
        (
            ["job", "{}/x", "--sites", "ann", "ann"],
            "sites must differ from each other, got ",
        ),
    ],
)
def test_what_is_typed_wrong_is_one_sentence(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind in ("client", "server"):
        kit(tmp_path, kind)
    assert typed(*(word.format(tmp_path) for word in words)) == 1
    assert capsys.readouterr().err.startswith(f"Error: {said.format(tmp_path)}")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"socket": "/a", "more": 1}'])
def test_a_site_that_says_nothing_of_itself_runs_no_job(text: str, tmp_path: Path) -> None:
    (tmp_path / "ifl.json").write_text(text)
    with pytest.raises(ConfigError, match=r"ifl\.json .*; ifl flare site KIT --socket PATH writes"):
        read_site(tmp_path)


def test_without_its_package_one_sentence_names_the_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "nvflare", None)
    with pytest.raises(ConfigError) as told:
        check_installed("engine=flare")
    assert str(told.value) == 'engine=flare needs the package nvflare: pip install "ifl[flare]"'
