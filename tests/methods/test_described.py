"""What run.json, figures and tables are told of a method, for every yaml in conf/method."""

import json

import pytest
from conftest import EVERY, NARROW, composed, options, play
from omegaconf import OmegaConf

from ifl.cli.build import assemble, make
from ifl.errors import ConfigError
from ifl.federation.build import Federation
from ifl.methods.base import described
from ifl.methods.ifl import IFL
from ifl.runs.identity import fingerprint, recipe
from ifl.runs.legacy import TITLES, method_of_before
from ifl.runs.method import method_entry

UPLOADS = {"each round": [True, True], "once": [True, False], "never": [False, False]}


LATER_KINDS = {"n", "logits", "factor", "held", "p", "za", "w", "ask"}


def federation(typed: str) -> Federation:
    small = [*NARROW, "clients.count=2", "fusion.dim=16", "batch_size=4"]
    return assemble(composed(*small, "local.tau=1", *f"method={typed}".split()))


@pytest.mark.parametrize("typed", EVERY)
def test_a_method_sends_when_and_what_it_says(typed: str) -> None:
    mine = federation(typed)
    method = mine.engine.method
    rounds = play(mine, 2)
    up = [any(direction == "up" for direction, *_ in rows) for rows in rounds]
    assert up == UPLOADS[method.sends]
    seen = {kind for rows in rounds for _, _, kind, _ in rows} - {"header"}
    assert seen <= method.kinds.keys()
    assert all(method.kinds.values())


def test_every_title_is_its_own() -> None:
    titles = [make(composed(f"method={option}").method).title for option in options("method")]
    assert all(titles)
    assert len({*titles}) == len(titles)


@pytest.mark.parametrize("option", options("method"))
def test_run_json_holds_what_figures_read(option: str) -> None:
    method = make(composed(f"method={option}").method)
    about = {"choices": {"method": option}, "method": described(method, option)}
    entry = method_entry(json.loads(json.dumps(about)))
    assert (entry.choice, entry.title) == (option, method.title)
    assert (entry.sends, entry.kinds) == (method.sends, method.kinds)


@pytest.mark.parametrize("option", TITLES)
def test_runs_of_before_have_the_title_of_now(option: str) -> None:
    method = make(composed(f"method={option}").method)
    before = method_of_before(option)
    assert (before["title"], before["sends"]) == (method.title, method.sends)
    assert before["kinds"].keys() >= method.kinds.keys() - LATER_KINDS


@pytest.mark.parametrize(
    ("option", "settings", "title"),
    [
        ("fedproto", {"lam": 1.0}, "FedProto, by modular blocks"),
        ("fedproto", {"predict": "prototypes"}, "FedProto"),
        ("cse_fsl", {"sync_clients": False}, "CSE-FSL without averaging"),
        ("cse_fsl", {"sync_clients": True}, "CSE-FSL"),
        ("fl", {}, "FL"),
    ],
)
def test_a_run_of_before_is_called_by_what_it_did(
    option: str, settings: dict[str, object], title: str
) -> None:
    about = {"choices": {"method": option}, "config": {"method": settings}}
    assert method_entry(about).title == title
    named = {"title": TITLES[option], "sends": "each round", "kinds": {}}
    assert method_entry({**about, "method": named}).title == title
    assert method_entry({**about, "method": {**named, "title": "Mine"}}).title == "Mine"


def test_a_method_that_says_nothing_is_called_by_its_choice() -> None:
    silent: object = object()
    entry = {"title": "mine", "sends": "each round", "kinds": {}}
    assert described(silent, "mine") == entry  # type: ignore[arg-type]
    assert method_of_before("mine") | {"kinds": {}} == entry


@pytest.mark.parametrize("title", [None, "", 3])
def test_a_title_is_text(title: object) -> None:
    with pytest.raises(ConfigError, match="method.title must be text that is not empty, got"):
        described(IFL(title=title), "ifl")  # type: ignore[arg-type]


def test_a_title_changes_no_identity() -> None:
    prints, recipes = set(), set()
    for typed in ([], ["+method.title=Mine"]):
        config = composed("method=ifl", *typed)
        assert make(config.method).title == ("Mine" if typed else "IFL")
        plain = OmegaConf.to_container(config, resolve=True)
        assert isinstance(plain, dict)
        prints.add(fingerprint({str(key): value for key, value in plain.items()}))
        recipes.add(recipe(["seed=1", *typed], "config", []))
    assert len(prints) == len(recipes) == 1


@pytest.mark.parametrize(
    "entry",
    [
        "IFL",
        {"title": "IFL"},
        {"title": 3, "sends": "once", "kinds": {}},
        {"title": "IFL", "sends": "often", "kinds": {}},
        {"title": "IFL", "sends": "once", "kinds": "z"},
    ],
)
def test_a_damaged_entry_is_refused(entry: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        method_entry({"choices": {"method": "ifl"}, "method": entry})
