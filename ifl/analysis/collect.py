"""Collects run folders: loads them, groups them over seeds, names the groups.

Runs belong together by configuration without the seed, never by path.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.stats import t

from ifl.analysis.naming import names_of, words_of
from ifl.errors import IFLError
from ifl.runs.folder import BYTES_PER_MB, SCHEMA_VERSION, TABLES, read_about
from ifl.runs.identity import NAMING, fingerprint, relevant
from ifl.runs.method import MethodEntry, method_entry
from ifl.runs.wholeness import spoilt

OWNED: Mapping[str, Any] = {"round": float, "base": str, "modular": str, "accuracy": float}


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run."""

    group: str
    seed: int
    ended: str
    data: str
    digest: str  # of the data's samples and labels; empty where that is not known
    study: str
    command: str  # as it was typed; empty where that is not known
    choices: Mapping[str, str | None]
    method: MethodEntry
    path: Path
    config: Mapping[str, Any]  # by dotted key, without what tells no group from another
    rounds: pd.DataFrame  # the rows of rounds.csv that have an accuracy; MB and accuracy_worst
    compositions: pd.DataFrame  # the rows of compositions.csv of the last of these rounds
    multicast_mb: float = nan  # downlink of the whole run, each message once; NaN: not known

    def traffic(self) -> pd.DataFrame:
        """Return the bytes of the whole run by direction and kind.

        Raises:
            IFLError: traffic.csv is missing or damaged.
        """
        try:
            rows = pd.read_csv(self.path / "traffic.csv", usecols=["direction", "kind", "bytes"])
            return rows.groupby(["direction", "kind"])["bytes"].sum().reset_index()
        except (OSError, ValueError, LookupError) as error:
            raise IFLError(
                f"{self.path / 'traffic.csv'} is missing or damaged ({str(error).strip()}); "
                "remove this run's folder, and the command that made it runs it again"
            ) from error


@dataclass(frozen=True, eq=False)
class Group:
    """Runs that differ in nothing but the seed."""

    name: str
    runs: Sequence[Run]  # by seed

    @property
    def method(self) -> MethodEntry:
        """The entry "method" of run.json."""
        return self.runs[0].method

    @property
    def data(self) -> str:
        """The name of the data set."""
        return self.runs[0].data

    def setting(self, key: str) -> Any:
        """Return a value of the configuration, by dotted key; None where it has none."""
        return self.runs[0].config.get(key)

    def each(self, measure: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Return a measure of every run."""
        return [measure(run, *arguments) for run in self.runs]

    def last(self) -> pd.DataFrame:
        """Return the last evaluated round of each run, a row per seed."""
        return pd.concat([run.rounds.tail(1) for run in self.runs])

    def curve(self, accuracy: str = "accuracy_mean") -> pd.DataFrame:
        """Return means and an accuracy's interval (low, high) by round that all seeds have.

        An interval of two seeds says nothing; low and high are these.
        """
        by_round = pd.concat([run.rounds for run in self.runs]).groupby("round")
        curve, half = by_round.mean(), by_round[accuracy].agg(half_width)
        curve["low"] = (curve[accuracy] - half).clip(lower=0)
        curve["high"] = (curve[accuracy] + half).clip(upper=1)
        if len(self.runs) == 2:
            curve["low"], curve["high"] = by_round[accuracy].min(), by_round[accuracy].max()
        return curve[by_round.size() == len(self.runs)].reset_index()

    def matrix(self) -> pd.DataFrame:
        """Return the last accuracies, base by modular block, mean over seeds."""
        rows = pd.concat([run.compositions for run in self.runs])
        return rows.pivot_table("accuracy", "base", "modular", sort=False)


def half_width(values: "pd.Series[float]") -> float:
    """Return half the 95 % Student t interval of the mean, t(n - 1) standard errors; NaN: n < 2."""
    return float(t.ppf(0.975, values.count() - 1) * values.sem())


def load_runs(root: Path, by_study: bool = False) -> tuple[list[Run], list[str]]:
    """Return the finished runs in a folder, at any depth, and a note on every other one.

    Of several runs of one group and seed, the newest counts. Runs of other data under one name
    and with the same settings are told apart by the first digits of the data's digest.

    Args:
        root: the folder.
        by_study: keep the same run of several studies for each of them.

    Raises:
        IFLError: there is no such folder, or no finished run in it.
    """
    if not root.is_dir():
        raise IFLError(f"{root} is no folder; name one that holds runs, such as outputs")
    newest: dict[tuple[str, int, str], Run] = {}
    found, notes = [], []
    for path in sorted(file.parent for file in root.rglob("run.json")):
        try:
            found.append(_read(path))
        except IFLError as error:
            notes.append(f"{path} left out: {error}")
    for run in _told_apart(found, notes):
        key = run.group, run.seed, run.study if by_study else ""
        other = newest.get(key)
        if other is None or run.ended > other.ended:
            newest[key] = run
        if other is not None:
            older = other if newest[key] is run else run
            notes.append(f"{older.path} left out: the same was run again later")
    if not newest:
        why = f"{notes[0]}; {len(notes)} in all" if notes else "no run.json"
        raise IFLError(f"no finished run in {root} ({why}); make one with scripts/run.py")
    return list(newest.values()), notes


def _told_apart(runs: Sequence[Run], notes: list[str]) -> list[Run]:
    """Return the runs, with another name and group for each of several data sets under one name.

    Runs that do not say their data's digest keep theirs.
    """
    digests: dict[str, set[str]] = {}
    for run in runs:
        digests.setdefault(_data_settings(run), set()).update({run.digest} - {""})
    apart: list[Run] = []
    marks: dict[str, set[str]] = {}
    for run in runs:
        if run.digest and len(digests[_data_settings(run)]) > 1:
            mark = run.digest[:6]
            marks.setdefault(run.data, set()).add(mark)
            run = replace(run, data=f"{run.data} ({mark})", group=f"{run.group} {mark}")
        apart.append(run)
    for name, its in sorted(marks.items()):
        told = ", ".join(sorted(its))
        notes.append(
            f"{name} is several data sets, told apart by their digests and never averaged: {told}"
        )
    return apart


def _data_settings(run: Run) -> str:
    """Return what says which samples a run has, where the data under its name are the same."""
    told = ("data.", "anchors.", "validation")
    own = {k: v for k, v in run.config.items() if k.startswith(told)}
    taken = run.choices.get("anchors") == "held_out"  # away from the data, by the seed
    return repr((run.data, sorted(own.items(), key=str), run.seed if taken else None))


def _read(path: Path) -> Run:
    about = read_about(path)
    if about is None or about.get("schema_version") != SCHEMA_VERSION:
        raise IFLError(f"its run.json is damaged or not of schema version {SCHEMA_VERSION}")
    if not about.get("finished"):
        raise IFLError(f"not finished ({about.get('stop_reason', 'running or interrupted')})")
    if why := spoilt(path, about):
        raise IFLError(why)
    choices = about.get("choices")
    if isinstance(choices, Mapping) and (no := [g for g in NAMING if choices.get(g) is None]):
        raise IFLError(f"its run.json does not say what was chosen for {' and '.join(no)}")
    try:
        facts = {key: about[key] for key in ("seed", "ended", "data", "choices")}
        facts |= {"group": fingerprint(about["config"], "seed"), "method": method_entry(about)}
        facts |= {"digest": str(about.get("data_digest") or "")}
        facts |= {"study": str(about["config"]["study"]), "command": about.get("command") or ""}
        once = (about.get("totals") or {}).get("downlink_bytes_multicast", nan)
        facts["multicast_mb"] = once / BYTES_PER_MB
        config = relevant(about["config"], "seed")
        if config["clients.count"] is None:  # as many as there were owners
            config["clients.count"] = len(pd.read_csv(path / "partition.csv"))
        rounds = pd.read_csv(path / "rounds.csv", usecols=[*TABLES["rounds"]], dtype=float)
        sent = rounds[["uplink_bytes", "downlink_bytes"]]
        rounds[["uplink_mb", "downlink_mb"]] = sent / BYTES_PER_MB
        rounds["uplink_mb_per_client"] = rounds["uplink_mb"] / config["clients.count"]
        rounds["total_mb_per_client"] = rounds["uplink_mb_per_client"] + (
            rounds["downlink_mb"] / config["clients.count"]
        )
        rounds = rounds.dropna(subset="accuracy_mean")
        table = pd.read_csv(path / "compositions.csv", usecols=[*OWNED], dtype=OWNED)
        worst = table.groupby("round")["accuracy"].min()
        rounds["accuracy_worst"] = rounds["round"].map(worst)
        compositions = table[table["round"] == rounds["round"].iloc[-1]]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise IFLError(f"a file is missing or damaged ({str(error).strip()})") from error
    return Run(**facts, path=path, config=config, rounds=rounds, compositions=compositions)


def group_runs(runs: Sequence[Run], name_of: Callable[[Run], str] | None = None) -> list[Group]:
    """Gather the runs of one data set over seeds, sorted by method and name.

    The paper's method and its kin come first, then the others by title, then who never sends
    and who sends once. Without ``name_of``, names alone decide.

    Args:
        runs: of one data set.
        name_of: names a run; where it gives several groups one name, what tells them apart is
            added. By default all of the name is what tells groups apart.
    """
    groups: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: run.seed):
        groups.setdefault(run.group, []).append(run)
    firsts = [group[0] for group in groups.values()]
    names = [name_of(run) for run in firsts] if name_of else names_of(firsts)
    for shared in {name for name in names if names.count(name) > 1}:
        at = [n for n, name in enumerate(names) if name == shared]
        for n, words in zip(at, words_of([firsts[n] for n in at]), strict=True):
            names[n] = ", ".join([shared, *words[1:]])  # the first is the method
    gathered = sorted(map(Group, names, groups.values()), key=lambda group: _rank(group.name))
    return sorted(gathered, key=lambda group: group.method.place) if name_of else gathered


def _rank(name: str) -> list[str | float]:
    parts = enumerate(re.split(r"(\d+\.?\d*)", name))  # text, number, text, ...
    return [float(part) if n % 2 else part for n, part in parts]
