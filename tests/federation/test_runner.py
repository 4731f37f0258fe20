from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import SMALL, WIDE, Build, clients

from ifl.errors import ConfigError, DivergenceError, Terminated
from ifl.federation.build import Federation
from ifl.federation.runner import run
from ifl.federation.schedule import Schedule
from ifl.methods.fl import FL
from ifl.methods.ifl import IFL
from ifl.runs.folder import RunFolder, read_about


def done(federation: Federation, path: Path, schedule: Schedule) -> pd.DataFrame:
    with RunFolder(path) as folder:
        run(federation, folder, {"seed": 0}, schedule)
    return pd.read_csv(path / "rounds.csv")


def test_evaluation_follows_eval_every_and_the_last_round_always(
    tiny: Build, tmp_path: Path
) -> None:
    rounds = done(tiny(IFL(), SMALL, WIDE), tmp_path, Schedule(rounds=8, eval_every=3))
    assert rounds[rounds.accuracy_mean.notna()]["round"].tolist() == [3, 6, 8]
    assert rounds["round"].tolist() == list(range(1, 9))
    matrix = pd.read_csv(tmp_path / "compositions.csv", dtype={"base": str, "modular": str})
    last = matrix[matrix["round"] == 8]
    assert len(last) == 4
    assert last.accuracy.mean() == pytest.approx(rounds.accuracy_mean.iloc[-1])
    cross = last[last.base != last.modular].accuracy.mean()
    assert cross == pytest.approx(rounds.accuracy_cross.iloc[-1])


def test_traffic_adds_up_to_the_cumulative_bytes(tiny: Build, tmp_path: Path) -> None:
    rounds = done(tiny(IFL(), SMALL, WIDE), tmp_path, Schedule(rounds=4))
    traffic = pd.read_csv(tmp_path / "traffic.csv")
    for direction, column in (("up", "uplink_bytes"), ("down", "downlink_bytes")):
        per_round = traffic[traffic.direction == direction].groupby("round").bytes.sum()
        assert per_round.cumsum().tolist() == rounds[column].tolist()


@pytest.mark.parametrize("per_client", [False, True])
def test_a_budget_in_bytes_ends_with_the_round_that_reaches_it(
    tiny: Build, tmp_path: Path, per_client: bool
) -> None:
    schedule = Schedule(rounds=None, uplink_mb=0.002, per_client=per_client)
    rounds = done(tiny(IFL(), count=3), tmp_path, schedule)
    limit = 2000 * (3 if per_client else 1)
    assert rounds.uplink_bytes.iloc[-1] >= limit > rounds.uplink_bytes.iloc[-2]
    about = read_about(tmp_path)
    assert about is not None
    assert about["stop_reason"].startswith("stop.uplink_mb=0.002")
    assert about["totals"]["uplink_bytes_per_client"] == rounds.uplink_bytes.iloc[-1] / 3
    assert rounds.accuracy_mean.notna().iloc[-1]


def test_accuracy_and_seconds_end_a_run_and_say_so(tiny: Build, tmp_path: Path) -> None:
    rounds = done(
        tiny(FL(), SMALL), tmp_path / "a", Schedule(rounds=500, eval_every=5, accuracy=0.5)
    )
    assert rounds.accuracy_mean.iloc[-1] >= 0.5
    assert len(rounds) < 500
    reason = (read_about(tmp_path / "a") or {})["stop_reason"]
    assert reason == "stop.accuracy=0.5 reached"
    short = done(tiny(FL(), SMALL), tmp_path / "s", Schedule(rounds=100000, seconds=0.2))
    assert 0.2 <= short.seconds.iloc[-1] < 5
    assert (read_about(tmp_path / "s") or {})["stop_reason"] == "stop.seconds=0.2 reached"


@pytest.mark.parametrize("patience", [1, 3])
def test_a_run_ends_after_so_many_evaluations_without_a_better_one(
    tiny: Build, tmp_path: Path, patience: int
) -> None:
    whole = done(tiny(FL(), SMALL), tmp_path / "whole", Schedule(rounds=60, eval_every=2))
    means = whole.accuracy_mean.dropna().tolist()
    best, waited, expected = -1.0, 0, 0
    for number, mean in enumerate(means, start=1):
        best, waited = (mean, 0) if mean > best else (best, waited + 1)
        if waited == patience:
            expected = 2 * number
            break
    assert 0 < expected < 60
    schedule = Schedule(rounds=None, eval_every=2, patience=patience)
    ended = done(tiny(FL(), SMALL), tmp_path / "ended", schedule)
    assert len(ended) == expected
    assert ended.accuracy_mean.dropna().tolist() == means[: expected // 2]
    reason = (read_about(tmp_path / "ended") or {})["stop_reason"]
    assert reason == f"stop.patience={patience} reached"


def test_patience_is_counted_on_where_a_run_is_ended_after_every_round(
    tiny: Build, tmp_path: Path
) -> None:
    schedule = Schedule(rounds=60, eval_every=2, patience=3, checkpoint_every=50)
    whole = done(tiny(FL(), SMALL), tmp_path / "whole", schedule)
    final = None
    while final is None:
        with RunFolder(tmp_path / "pieces") as folder, suppress(Terminated):
            final = run(
                tiny(FL(), SMALL), folder, {"seed": 0}, schedule, stop=lambda: "a signal came"
            )
    pieces = pd.read_csv(tmp_path / "pieces" / "rounds.csv")
    assert final["stop_reason"] == "stop.patience=3 reached"
    assert pieces.drop(columns="seconds").equals(whole.drop(columns="seconds"))


def test_the_same_run_writes_the_same_bytes_but_for_the_seconds(
    tiny: Build, tmp_path: Path
) -> None:
    first = done(tiny(IFL(), SMALL, WIDE), tmp_path / "a", Schedule(rounds=5))
    second = done(tiny(IFL(), SMALL, WIDE), tmp_path / "b", Schedule(rounds=5))
    text = [f.drop(columns="seconds").to_csv() for f in (first, second)]
    assert text[0] == text[1]
    for name in ("compositions.csv", "traffic.csv", "partition.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_diverged_run_keeps_its_rows_and_says_why(tiny: Build, tmp_path: Path) -> None:
    federation = tiny(IFL(), SMALL)

    def poison(row: object) -> None:
        with torch.no_grad():
            next(iter(clients(federation)[0].model.parameters())).fill_(float("inf"))

    with RunFolder(tmp_path) as folder, pytest.raises(DivergenceError):
        run(federation, folder, {}, Schedule(rounds=5, checkpoint_every=1), watch=poison)
    assert [path.name for path in (tmp_path / "checkpoint").iterdir()] == ["round-1"]
    about = read_about(tmp_path)
    assert about is not None
    assert about["finished"] is False
    assert about["stop_reason"].startswith(
        "diverged: IFL in round 2: the training loss of client 0"
    )
    assert len(pd.read_csv(tmp_path / "rounds.csv")) == 1


def test_run_json_says_what_the_result_depends_on(tiny: Build, tmp_path: Path) -> None:
    done(tiny(FL(), SMALL), tmp_path, Schedule(rounds=1))
    about = read_about(tmp_path)
    assert about is not None
    assert about["finished"] is True
    assert about["versions"]["torch"] == torch.__version__.split("+")[0]
    assert {"device", "threads", "commit", "started", "ended", "totals"} <= set(about)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"rounds": 0}, "rounds must be a whole number >= 1, got 0"),
        ({"rounds": 2.5}, "rounds must be a whole number >= 1, got 2.5"),
        ({"rounds": None}, "rounds=null needs another end"),
        ({"rounds": 1, "eval_every": 0}, "eval_every must be a whole number >= 1, got 0"),
        (
            {"rounds": 1, "checkpoint_every": 0},
            "checkpoint_every must be a whole number >= 1, got 0",
        ),
        ({"rounds": 1, "uplink_mb": 0}, "stop.uplink_mb must be a number > 0, got 0"),
        ({"rounds": 1, "seconds": "x"}, "stop.seconds must be a number > 0, got x"),
        ({"rounds": 1, "accuracy": 85}, "stop.accuracy is a fraction .* write 0.9 for 90 %"),
    ],
)
def test_limits_out_of_range_are_sentences(wrong: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Schedule(**wrong)  # type: ignore[arg-type]
