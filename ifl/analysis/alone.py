"""Sets methods beside clients that train alone on the same images for as many steps.

What a method gains over alone is its accuracy less the own-block accuracy of ``method=local``,
seed by seed: the same data, clients, partition, distortion of images, batch size, local steps in
all (rounds * tau) and local steps until rates have fallen. Where no such run has the same
optimiser and d, the best of those that there are is taken, and named.
"""

from collections.abc import Sequence
from typing import NamedTuple

from ifl.analysis.collect import Group, Run
from ifl.analysis.metrics import cross_minus_local, last
from ifl.analysis.tables import Cell, Value, over_seeds

ALONE = "local"  # the choice of conf/method
MARK = "‡"
SAME = ("clients.", "partition.", "data.", "augment.", "participation.", "batch_size", "validation")
TAKEN = "anchors.count"  # with anchors=held_out: samples that are dealt to nobody
OWN = ".fusion_dim"  # of a client's blocks: d, which may differ
GAIN_MEAN, GAIN_OWN = "gain over alone, mean (points)", "gain over alone, own (points)"
CROSS = "cross less local (points)"


class Gain(NamedTuple):
    """A group's gain over alone, in points over the seeds that both have."""

    mean: Value  # its mean over compositions less own blocks alone
    own: Value  # its own blocks less those
    other: str  # optimiser and d of the run alone; empty where they are the same


def optimizer_name(run: Run) -> str:
    """Name optimiser and learning rate, of both blocks where they differ, if it has any."""
    keys = [f"optimizer.{block}.lr" for block in ("base", "modular")]
    rates = dict.fromkeys(f"{run.config[key]:g}" for key in keys if key in run.config)
    return f"{run.choices['optimizer']} {' / '.join(rates)}".rstrip()


def recipe(run: Run) -> tuple[object, ...]:
    """Return what a run has to have in common with one that is compared to it."""
    taken = run.choices.get("anchors") == "held_out"
    tau, falling = run.config["local.tau"], run.config.get("optimizer.decay_rounds")
    kept = {
        key: repr(value)
        for key, value in run.config.items()
        if (key.startswith(SAME) or (key == TAKEN and taken))
        and not key.endswith(OWN)
        and value is not None
    }
    steps = last(run, "round") * tau, falling and falling * tau
    return run.data, run.seed, steps, tuple(sorted(kept.items()))


def setting(run: Run) -> tuple[object, ...]:
    """Return optimiser and d."""
    own = {k: repr(v) for k, v in run.config.items() if k.startswith("optimizer.")}
    own.pop("optimizer.decay_rounds", None)  # in local steps, part of the recipe
    return run.config["fusion.dim"], tuple(sorted(own.items()))


def gain(group: Group, groups: Sequence[Group]) -> Gain | None:
    """Return what a group gains over the run alone among these; None where there is none."""
    if group.method.choice == ALONE:
        return None
    mine = {recipe(run): run for run in group.runs}
    found = []  # (same optimiser and d, accuracy, runs by recipe)
    for other in groups:
        theirs = {recipe(run): run for run in other.runs} if other.method.choice == ALONE else {}
        if common := [run for key, run in theirs.items() if key in mine]:
            alike = setting(common[0]) == setting(group.runs[0])
            accuracy = sum(last(run, "accuracy_local") for run in common) / len(common)
            found.append((alike, accuracy, theirs))
    if not found:
        return None
    alike, _, theirs = max(found, key=lambda entry: entry[:2])
    apart = {}
    for column in ("accuracy_mean", "accuracy_local"):
        values = [
            last(run, column) - last(theirs[key], "accuracy_local") if key in theirs else None
            for key, run in mine.items()
        ]
        note = "" if alike else MARK
        apart[column] = over_seeds(values, 1, 100, note)
    one = next(iter(theirs.values()))
    other_name = "" if alike else f"{optimizer_name(one)}, d = {one.config['fusion.dim']}"
    return Gain(apart["accuracy_mean"], apart["accuracy_local"], other_name)


def beside_alone(groups: Sequence[Group]) -> tuple[dict[str, list[Cell]], str]:
    """Return columns by head, a cell per group, and what has to be said of them.

    A column that would be empty is left out.
    """
    columns: dict[str, list[Cell]] = {CROSS: [], GAIN_MEAN: [], GAIN_OWN: []}
    others: dict[str, list[str]] = {}
    for group in groups:
        found = gain(group, groups)
        columns[CROSS].append(over_seeds(group.each(cross_minus_local), 1, 100))
        columns[GAIN_MEAN].append(found.mean if found else "-")
        columns[GAIN_OWN].append(found.own if found else "-")
        if found and found.other:
            others.setdefault(found.other, []).append(group.name)
    there = {head: cells for head, cells in columns.items() if {*map(str, cells)} != {"-"}}
    if GAIN_MEAN not in there:
        return there, ""
    said = "Gain over alone: less the own-block accuracy without communication, with the same "
    said += 'images, clients, local steps and recipe, by seed; "-": no such run here.'
    if others:
        named = "; ".join(f"{name}: {', '.join(whose)}" for name, whose in others.items())
        said += f" {MARK} Alone with another optimiser or d, the best there is: {named}."
    return there, said
