"""Says on what terms methods stand beside each other: names, formats, local work, recipe."""

from collections.abc import Sequence

from ifl.analysis import metrics
from ifl.analysis.alone import optimizer_name
from ifl.analysis.collect import Group, Run
from ifl.analysis.studies import accuracy_vs_uplink
from ifl.analysis.tables import Cell, Table, Value, over_seeds

USUAL_CODEC, USUAL_D, ROUNDS = "float32", 432, 60  # these need no word


def kind_of(run: Run) -> str:
    """Name the method; one that has a single round says so."""
    name = accuracy_vs_uplink.name_of(run)
    return f"{name}, one round" if run.config["rounds"] == 1 else name


def whose(run: Run) -> str:
    """Name the method and, where it needs others than most do, its clients."""
    clients = str(run.choices["clients"])
    told = run.method.choice == "local" and clients != "paper"
    return f"{kind_of(run)}, clients={clients}" if told else kind_of(run)


def name_of(run: Run) -> str:
    """Name the method, the format of what it sends, and its rounds where they are fewer."""
    words = [whose(run)]
    if run.method.sends == "never":
        return words[0]
    if (codec := run.choices.get("codec") or USUAL_CODEC) != USUAL_CODEC:
        words.append(codec)
    if (d := run.config["fusion.dim"]) != USUAL_D:
        words.append(f"d = {d}")
    if 1 < (rounds := run.config["rounds"] or ROUNDS) < ROUNDS:
        words.append(f"{rounds} rounds")
    return ", ".join(words)


def settings(groups: Sequence[Group]) -> Table:
    """Return what every group was run with."""
    rows: list[list[Cell]] = []
    for group in groups:
        run = group.runs[0]
        row: list[Cell] = [kind_of(run), str(run.choices["codec"]), int(run.config["fusion.dim"])]
        row += [optimizer_name(run), str(run.choices.get("augment"))]
        row += [int(run.config["local.tau"]), int(metrics.last(run, "round")), local_steps(run)]
        falling = run.config.get("optimizer.decay_rounds")
        rows.append([*row, "-" if falling is None else int(falling * run.config["local.tau"])])
    head = ["method", "codec", "d", "optimiser", "augment", "tau", "rounds", "local steps"]
    caption = f"{groups[0].data}: what each method was run with"
    notes = "Rates fall to 0 over so many local steps as the last column has; "
    notes += '"-": they stay, as one round has no steps between which they could fall.'
    return Table("settings", caption, [*head, "falling over"], rows, notes)


def local_steps(run: Run) -> int:
    """Return how many local steps each client has taken, if it took part in every round."""
    return int(metrics.last(run, "round") * run.config["local.tau"])


def bytes_of(groups: Sequence[Group]) -> Table:
    """Return what every group sent in all, each way, and with a broadcast counted once."""
    rows: list[list[Cell]] = []
    for group in groups:
        row: list[Cell] = [group.name, len(group.runs)]
        count = int(group.runs[0].config["clients.count"])
        for column in ("uplink_mb_per_client", "downlink_mb", "total_mb_per_client"):
            share = count if column == "downlink_mb" else 1
            values = [metrics.last(run, column) / share for run in group.runs]
            row.append(Value(over_seeds(values).mean, digits=4))
        once = over_seeds([run.multicast_mb / count for run in group.runs]).mean
        rows.append([*row, Value(once, digits=4)])
    head = ["up (MB)", "down (MB)", "both ways (MB)", "down, multicast (MB)"]
    caption = f"{groups[0].data}: MB per client after the last round"
    notes = "Multicast: a message that several clients receive counts once, divided by the clients."
    return Table("bytes", caption, ["method", "seeds", *head], rows, notes)


def terms(groups: Sequence[Group], choices: str = "beyond/choices") -> str:
    """Say what most methods have in common, and who has it otherwise.

    Args:
        choices: the study by which settings were chosen.
    """
    of: dict[tuple[int, str, bool], list[Group]] = {}
    for group in groups:
        run = group.runs[0]
        falling = run.config.get("optimizer.decay_rounds")
        key = local_steps(run), str(run.choices.get("augment")), falling is not None
        of.setdefault(key, []).append(group)
    (steps, augment, falls), *others = sorted(of, key=lambda key: len(of[key]), reverse=True)
    text = f"Each client of each method took {steps} local steps, with augment={augment} and "
    text += f"{'falling' if falls else 'constant'} rates"
    for key in others:
        names = ", ".join(group.name for group in of[key])
        text += f"; otherwise ({key[0]} steps, augment={key[1]}, "
        text += f"{'falling' if key[2] else 'constant'} rates): {names}"
    seeds = sorted({run.seed for group in groups for run in group.runs})
    return f"{text}. Seeds {', '.join(map(str, seeds))}. How settings were chosen: {choices}."
