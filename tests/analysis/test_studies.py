"""Every study of the paper and its open questions: from runs to figures, tables and claims."""

import csv
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from commands import command as run_py
from conftest import CONF, options
from matplotlib.figure import Figure
from studies import ONLY, fill
from written_runs import T2, command, write_run

from ifl.analysis.charts import UPLINK_AXES
from ifl.analysis.collect import group_runs, load_runs
from ifl.analysis.report.archive import describe
from ifl.analysis.report.questions import header
from ifl.analysis.report.sections import Section, sections
from ifl.analysis.studies import STUDIES
from ifl.analysis.studies.beyond import ablation, pareto
from ifl.analysis.studies.general import draw_curves
from ifl.analysis.studies.terms import name_of
from ifl.analysis.tables import Table, Value
from ifl.cli.missing import absent

T1 = np.tan(0.475 * np.pi)  # 97.5 % quantile of Student's t with 1 degree of freedom
EXPERIMENTS = [
    name for name in options("experiment") if name.startswith(("paper/", "open/", "beyond/"))
]


def shown(root: Path) -> Section:
    (part,) = sections(load_runs(root, by_study=True)[0])
    return part


def cells(table: Table) -> dict[str, list[str]]:
    """Return the rows as text, by their first cell."""
    return {str(first): [str(cell) for cell in row] for first, *row in table.rows}


def table_of(part: Section, name: str) -> Table:
    (table,) = [table for table in part.tables if table.name == name]
    return table


def is_drawn(figure: Figure) -> bool:
    """Return whether every panel shows something."""
    return all(
        axes.lines or axes.patches or axes.images or axes.collections for axes in figure.axes
    )


@pytest.mark.parametrize("study", EXPERIMENTS)
def test_every_study_has_a_question_a_claim_figures_and_tables(tmp_path: Path, study: str) -> None:
    asked = header(CONF, study)
    assert asked is not None
    assert "?" in asked.question
    assert asked.paper
    assert "#" not in asked.question + asked.paper
    *runs, lost = fill(tmp_path, study)
    shutil.rmtree(lost)  # what is missing is named; the rest is drawn
    part = shown(tmp_path)
    assert part.study in STUDIES
    assert len(part.runs) == len(runs)
    assert part.figures
    for figure in part.figures.values():
        figure.draw_without_rendering()
        assert is_drawn(figure)
        assert figure.get_suptitle().startswith(part.data)
    names = [group.name for group in part.groups]
    assert len({*names}) == len(names)
    assert part.tables
    for table in part.tables:
        assert table.rows
        assert all(len(row) == len(table.head) for row in table.rows)
        assert table.caption.startswith(part.data)
    assert part.claims
    assert part.commands == [json.loads((runs[0] / "run.json").read_text())["command"]]
    notes = absent(tmp_path, CONF, study, part.data)
    assert len(notes) == 1 or (notes and study in ONLY)
    assert all(note.startswith(f"{study}, {part.data}: missing is ") for note in notes)


def test_missing_runs_are_those_of_the_command_that_was_typed(tmp_path: Path) -> None:
    paths = fill(tmp_path, "open/clients")
    assert absent(tmp_path, CONF, "open/clients", "Digits") == []
    kept = [path for path in paths if json.loads((path / "run.json").read_text())["seed"] == 1]
    for path in {*paths} - {*kept}:
        shutil.rmtree(path)
    assert absent(tmp_path, CONF, "open/clients", "Digits") == [
        f"open/clients, Digits: missing is clients.count={count}, seed 0, 2" for count in (2, 4, 8)
    ]
    assert absent(tmp_path, CONF, "no/study", "Digits") == []


def test_an_unfinished_run_is_not_missing_too(tmp_path: Path) -> None:
    path = fill(tmp_path, "open/clients")[0]
    about = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps({**about, "finished": False}))
    assert absent(tmp_path, CONF, "open/clients", "Digits") == []
    assert len(load_runs(tmp_path)[1]) == 1


def test_accuracy_and_uplink_are_set_beside_each_other(tmp_path: Path) -> None:
    fill(tmp_path, "paper/accuracy_vs_uplink", best=0.885)
    part = shown(tmp_path)
    half = T2 * 1 / np.sqrt(3)  # the seeds are a point apart
    rows = table_of(part, "accuracy-at-uplink").rows
    ifl, fl, fsl = rows[0], rows[1], rows[3]
    assert [row[0] for row in rows[:4]] == [
        "IFL", "FL-1 (convolutional)", "FL-2 (fully connected)", "FSL",
    ]  # fmt: skip
    assert [str(cell) for cell in ifl[:3]] == ["IFL", "per client", "3"]
    # 0.5 MB a round and client: rounds 4, 8 and 12 are 2, 4 and 6 MB.
    expected = ["-", *(f"{a:.1f} ± {half:.1f}" for a in (59.5, 79.5, 89.5, 89.5))]
    assert [str(cell).removesuffix(" †") for cell in ifl[3:]] == expected
    assert ["†" in str(cell) for cell in ifl[3:]] == [False, False, False, True, True]
    # 1.5 MB: rounds 4, 8 and 12 are 6, 12 and 18 MB; 5 MB: 20, 40 and 60.
    assert [str(cell) for cell in fsl[3:7]] == ["-", "-", "-", f"49.5 ± {half:.1f}"]
    assert [str(cell) for cell in fl[3:]] == ["-"] * 4 + [f"49.5 ± {half:.1f}"]
    reach = table_of(part, "uplink-to-accuracy").rows
    assert [str(cell) for cell in reach[0][3:]] == [
        "4.00 ± 0.00", "5.33 ± 2.87", "6.00 ± 0.00", "6.00 (1 of 3)",
    ]  # fmt: skip
    assert [str(cell) for cell in reach[3][3:]] == [
        "16.00 ± 8.61", "18.00 (1 of 3)", "not reached", "not reached",
    ]  # fmt: skip


def test_methods_come_in_the_order_of_their_titles_the_papers_first(tmp_path: Path) -> None:
    for option in options("method"):
        write_run(tmp_path / option, "study=paper/composition", f"method={option}")
    assert [group.name for group in shown(tmp_path).groups] == [
        "IFL", "IFL aligned", "IFL frugal", "IFL statistics", "IFL with anchors",
        "IFL, late vendor", "CSE-FSL",
        "DS-FL", "FedDF", "FedDistill", "FedGH", "FedLite", "FedMD", "FedProto", "FedTGP", "FL",
        "FML", "FSL", "FSL-SAGE", "LG-FedAvg", "no communication", "relative representations",
        "all data in one place",
    ]  # fmt: skip


def test_runs_that_do_not_say_what_their_method_is_are_drawn_alike(tmp_path: Path) -> None:
    for study in ("paper/accuracy_vs_uplink", "paper/communication"):
        fill(tmp_path / "new", study)
    shutil.copytree(tmp_path / "new", tmp_path / "old")
    for path in (tmp_path / "old").rglob("run.json"):
        about = json.loads(path.read_text())
        assert about.pop("method")
        path.write_text(json.dumps(about))
    new, old = (sections(load_runs(tmp_path / name, by_study=True)[0]) for name in ("new", "old"))
    for one, other in zip(new, old, strict=True):
        assert [table.csv() for table in one.tables] == [table.csv() for table in other.tables]
        assert [g.name for g in one.groups] == [g.name for g in other.groups]
        assert one.claims == other.claims
        for name, figure in one.figures.items():
            assert describe(figure) == describe(other.figures[name])


def test_a_lead_below_20_points_is_said_in_a_sentence(tmp_path: Path) -> None:
    fill(tmp_path / "a", "paper/accuracy_vs_uplink")
    wide, *others = shown(tmp_path / "a").remarks
    assert "FL-1 (convolutional) has no evaluation at or below 8.5 MB per client" in wide
    assert len(others) == 1
    for path in (tmp_path / "a").rglob("rounds.csv"):
        text = path.read_text()
        if "fsl" in (path.parent / "run.json").read_text():
            path.write_text(text.replace(",0.5", ",0.8"))  # FSL in round 4
    (first, *_) = shown(tmp_path / "a").remarks
    assert first.startswith("At 8.5 MB per client IFL is 10.0 ± ")
    assert "points above FSL on Digits: less than the 20 points" in first


def test_the_sd_and_cross_less_local_stand_beside_the_papers(tmp_path: Path) -> None:
    fill(tmp_path, "paper/composition")
    part = shown(tmp_path)
    # One of four blocks is a point better than the others: population SD sqrt(3) / 4.
    rows = table_of(part, "base-blocks").rows
    assert str(rows[0][1]) == "0: convolutional"
    assert [str(cell) for cell in rows[0][3:]] == [
        "89.2; 90.2", "90.0; 91.0", "89.0; 90.0", f"{np.sqrt(3) / 4:.2f} ± 0.00",
    ]  # fmt: skip
    assert len(rows) == 8
    # Of all 16 compositions four are a point better: the same SD, since base blocks are alike.
    results = table_of(part, "results")
    at = results.head.index("SD (points)")
    assert [str(cell) for cell in results.rows[0][at : at + 2]] == ["2.50 ± 0.00", "0.43 ± 0.00"]
    assert results.head[at + 1] == "SD of all (points)"
    told = {claim.what: claim.here for claim in part.claims}
    assert told["SD over modular blocks, IFL (points)"] == "2.50 ± 0.00"
    assert told["SD over all compositions, IFL (points)"] == "0.43 ± 0.00"


def test_growth_with_clients_is_fitted(tmp_path: Path) -> None:
    fill(tmp_path, "open/clients")
    rows = cells(table_of(shown(tmp_path), "growth"))
    assert {name: row[-1] for name, row in rows.items()} == {
        "down, all clients": "1.000",
        "up, all clients": "1.000",
        "down per client": "0.000",
        "up per client": "0.000",
    }


def test_the_lead_stands_beside_the_images_of_a_client(tmp_path: Path) -> None:
    fill(tmp_path, "open/shard_size")
    rows = table_of(shown(tmp_path), "leads").rows
    assert [[str(cell) for cell in row] for row in rows] == [
        ["500", "10.0 ± 0.0"], ["800", "10.0 ± 0.0"],
    ]  # fmt: skip


def test_bytes_are_counted_by_kind(tmp_path: Path) -> None:
    fill(tmp_path, "paper/communication")
    table = table_of(shown(tmp_path), "traffic")
    assert [*table.head] == [
        "direction", "kind", "IFL (MB)", "FL-1 (convolutional) (MB)",
        "FL-2 (fully connected) (MB)", "FSL (MB)",
    ]  # fmt: skip
    rows = {(row[0], row[1]): [str(cell) for cell in row[2:]] for row in table.rows}
    assert rows["up", "fusion outputs z"] == ["24.0000", "0.0000", "0.0000", "72.0000"]
    assert rows["up", "parameters"] == ["0.0000", "240.0000", "240.0000", "0.0000"]
    assert rows["up", "in total, per client"] == ["6.000", "60.000", "60.000", "18.000"]


def test_the_best_optimiser_is_the_one_with_the_highest_mean_of_whole_ones(tmp_path: Path) -> None:
    paths = fill(tmp_path, "open/optimizer")
    assert Counter(json.loads((p / "run.json").read_text())["data"] for p in paths) == {
        "Digits, validation": len(paths)
    }
    table = table_of(shown(tmp_path), "choice")
    assert [row[-1] for row in table.rows].count("best") == len({row[0] for row in table.rows})
    best = next(row for row in table.rows if row[-1] == "best")
    assert isinstance(best[4], Value)
    assert best[4].mean == max(
        row[4].mean for row in table.rows if row[0] == best[0] and isinstance(row[4], Value)
    )


def test_axes_keep_their_names_beside_who_sends_nothing(tmp_path: Path) -> None:
    write_run(tmp_path / "ifl")
    write_run(tmp_path / "local", "method=local", uplink=0)
    groups = group_runs(load_runs(tmp_path)[0])
    figure = draw_curves(groups, UPLINK_AXES)
    assert [axes.get_xlabel() for axes in figure.axes] == [*UPLINK_AXES.values()]
    labels = figure.axes[0].get_legend_handles_labels()[1]
    assert [text.endswith("(sends nothing)") for text in labels] == [False, True]


def test_an_optimiser_of_ones_own_comes_behind_the_known_ones(tmp_path: Path) -> None:
    for n, name in enumerate(("adam", "sgd")):
        write_run(tmp_path / str(n), "study=open/optimizer", f"optimizer={name}")
    path = write_run(tmp_path / "own", "study=open/optimizer", "optimizer.lr=0.5")
    about = json.loads((path / "run.json").read_text())
    about["choices"]["optimizer"] = "mine"
    (path / "run.json").write_text(json.dumps(about))
    axes = shown(tmp_path).figures["learning-rates"].axes[0]
    assert axes.get_legend_handles_labels()[1] == ["sgd", "adam", "mine"]


def test_a_frontier_of_methods_says_its_terms_who_won_and_at_what_price(tmp_path: Path) -> None:
    recipe = "augment=elastic", "optimizer.decay_rounds=12", "codec=int4", "study=beyond/pareto"
    served = {("0", "server"): 0.95, ("1", "server"): 0.95}
    z, sent = {("up", "z"): 400_000}, {"rounds": 12, "uplink_bytes": 4_800_000}
    both = z | {("down", "z"): 1_600_000}
    once = {**sent, "downlink_bytes": 19_200_000, "downlink_bytes_multicast": 4_800_000}
    write_run(tmp_path / "1", *recipe, accuracy={4: 0.5, 8: 0.85, 12: 0.91}, uplink=400_000,
              traffic=both, totals=once)  # fmt: skip
    write_run(tmp_path / "2", *recipe, "method=fsl", accuracy={4: 0.9, 8: 0.9, 12: 0.95},
              uplink=4_000_000, traffic=z, matrix=served)  # fmt: skip
    write_run(tmp_path / "3", *recipe, "method=local", accuracy={12: 0.3}, uplink=0)
    write_run(tmp_path / "4", *recipe[2:], "method=fedproto", accuracy={12: 0.7}, uplink=40_000)
    part = shown(tmp_path)
    assert {c.what: c.here for c in part.claims} == {
        "most accuracy under the paper's rules with at most 8.5 MB per client (%)":
            "91.0 †, by IFL, int4",
        "its SD over modular blocks after the last round (points)": "2.50",
        "least uplink per client to 80 % under the paper's rules (MB)": "0.800, by IFL, int4",
        "least uplink per client to 80 % of all methods (MB)": "0.800, by IFL, int4",
        "least uplink per client to 90 % under the paper's rules (MB)": "1.200, by IFL, int4",
        "least uplink per client to 90 % of all methods (MB)": "1.200, by IFL, int4",
    }  # fmt: skip
    ranked, won, worth = part.remarks
    assert ranked.startswith(
        "Each client of each method took 120 local steps, with augment=elastic and falling rates; "
        "otherwise (120 steps, augment=none, constant rates): FedProto, int4. Seeds 0."
    )
    assert won == (
        "Most accuracy after the last round: FSL, int4, 95.0 %; "
        "under the paper's rules: IFL, int4, 91.0 %."
    )
    assert worth.endswith("(points): nobody.")  # one seed has no interval
    rows = cells(table_of(part, "bytes"))
    assert rows["IFL, int4"] == ["1", "1.2000", "4.8000", "6.0000", "1.2000"]
    assert rows["FSL, int4"][-1] == "-"  # a run that does not say


def test_a_cheaper_setting_is_chosen_within_a_point_of_the_best(tmp_path: Path) -> None:
    common = "study=beyond/choices", "validation=0.2", "optimizer=momentum"
    rates = {"0.01": (0.80,), "0.03": (0.91, 0.93), "0.1": (0.90, 0.95), "0.3": (0.99,)}
    for rate, ends in rates.items():  # the last two seeds decide between those that have both
        for seed, end in enumerate(ends):
            write_run(tmp_path / f"{rate}-{seed}", *common, f"optimizer.lr={rate}", f"seed={seed}",
                      "codec=int4", accuracy={12: end})  # fmt: skip
    others = {"codec=int8": (0.935, 2_000_000), "codec=float16": (0.935, 1_000_000)}
    others["codec=int4 method.replay.pools=2"] = 0.926, 500_000
    others["codec=int4 fusion.dim=54"] = 0.915, 250_000  # more than a point below
    for n, (typed, (end, uplink)) in enumerate(others.items()):
        for seed in (0, 1):
            write_run(tmp_path / f"{n}-{seed}", *common, "optimizer.lr=0.1", f"seed={seed}",
                      *typed.split(), accuracy={12: end}, uplink=uplink)  # fmt: skip
    (table,) = shown(tmp_path).tables
    taken = {str(row[1]): row[-1] for row in table.rows if row[-1]}
    assert taken == {
        "int4, d = 432, momentum 0.1, method.replay.pools=0": "rate",
        "int4, d = 432, momentum 0.1, method.replay.pools=2": "chosen",
    }
    assert len(table.rows) == 8


def test_alignment_is_compared_at_the_same_rounds_and_optimiser(tmp_path: Path) -> None:
    study = "study=beyond/frontier", "method=ifl_frugal"
    for tau, rounds, ends in ((10, 12, (0.8, 0.85)), (30, 4, (0.9, 0.7))):
        for weight, end in enumerate(ends):
            write_run(tmp_path / f"{tau}-{weight}", *study, f"local.tau={tau}",
                      f"method.align.weight={weight}", accuracy={rounds: end},
                      uplink=5_000)  # fmt: skip
    part = shown(tmp_path)
    rows = [[str(cell) for cell in row] for row in table_of(part, "grid").rows]
    assert rows == [
        ["4 x 30", "momentum 0.01", "0.0050", "90.0", "70.0", "-20.0"],
        ["12 x 10", "momentum 0.01", "0.0150", "80.0", "85.0", "5.0"],
    ]
    assert [claim.here for claim in part.claims] == [
        "90.0, by 4 x 30, momentum 0.01, not aligned"
    ] * 2


def test_the_papers_rules_are_read_off_what_travelled_and_who_owns_blocks(tmp_path: Path) -> None:
    z, params = {("up", "z"): 1000}, {("up", "params"): 1000}
    served = {("0", "server"): 0.5, ("1", "server"): 0.5}
    write_run(tmp_path / "1", "method=ifl_statistics", traffic=z)
    write_run(tmp_path / "2", "method=fsl", traffic=z, matrix=served)
    write_run(tmp_path / "3", "method=lg_fedavg", "clients=paper_one_head", traffic=params)
    write_run(tmp_path / "4", "method=local")
    write_run(tmp_path / "5", "method=fedproto", traffic=z, matrix=served)
    trained = {**z, ("down", "prototypes"): 1000}
    write_run(tmp_path / "6", "method=fedtgp", traffic=trained, matrix=served)
    groups = group_runs(load_runs(tmp_path)[0], name_of)
    assert len(groups) == 6
    names = [group.name for group in pareto.under_the_rules(groups)]
    assert names == ["IFL statistics", "FedProto", "FedTGP"]


def test_an_ingredient_is_compared_with_none_and_with_all(tmp_path: Path) -> None:
    fill(tmp_path, "beyond/ablation")
    part = shown(tmp_path)
    names = {group.name for group in part.groups}
    ingredients = set(ablation.INGREDIENTS)
    ways = {f"{way} {name}" for way in ("with", "without") for name in ingredients}
    assert names == {ablation.NONE, ablation.ALL, *ways}
    rows = table_of(part, "ablation").rows
    assert [row[1] for row in rows] == ["-", *ablation.INGREDIENTS] * 2
    assert len({row[0] for row in rows}) == 2
    assert str(rows[0][4]) == "-"
    assert [str(row[4]) for row in rows[1:9]] == ["0.0 ± 0.0"] * 8


# From the command line


SMALL = ["-m", "experiment=paper/accuracy_vs_uplink", "data=digits", "seed=0,1", "rounds=2"]
SMALL += ["eval_every=1", "local.tau=1", "launcher=basic", "runtime.workers=1"]
SMALL += ["runtime.threads=1", "runtime.quiet=true", "checkpoint_every=null"]
METHODS = {"ifl": "IFL", "fsl": "FSL"}
COMMON = {"cnn_homogeneous": "FL-1 (convolutional)", "mlp_homogeneous": "FL-2 (fully connected)"}


def test_a_study_is_run_drawn_found_again_and_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = run_py(tmp_path, *SMALL)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "paper" / "accuracy_vs_uplink"
    runs = sorted(path.parent for path in folder.glob("*/run.json"))
    assert len(runs) == 6 * 2

    assert command(monkeypatch, folder) == 0
    assert capsys.readouterr().err == ""
    out = folder / "plots"
    tables = ["accuracy-at-uplink", "uplink-to-accuracy", "results"]
    names = {f"{name}-Digits.{kind}" for name in tables for kind in ("md", "tex", "csv")}
    names |= {f"accuracy-uplink-Digits.{kind}" for kind in ("png", "pdf")}
    assert {path.name for path in out.iterdir()} == names | {"measured-Digits.csv"}
    check_numbers(runs, out)

    shown_command = json.loads((runs[0] / "run.json").read_text())["command"]
    assert shown_command == " ".join(["python scripts/run.py", *SMALL, f"outputs={tmp_path}"])

    before = {path: path.stat().st_mtime_ns for run in runs for path in run.rglob("*")}
    again = run_py(tmp_path, *SMALL)
    assert again.returncode == 0
    assert "Already finished: 12 of 12 runs" in again.stdout
    assert {path: path.stat().st_mtime_ns for run in runs for path in run.rglob("*")} == before

    lost = runs[4]
    shutil.rmtree(lost)
    assert command(monkeypatch, folder) == 0
    assert capsys.readouterr().err.count("missing is method=") == 1
    mended = run_py(tmp_path, *SMALL)
    assert "Already finished: 11 of 12 runs" in mended.stdout
    after = {path: path.stat().st_mtime_ns for run in runs for path in run.rglob("*")}
    changed = {path for path in after if after[path] != before.get(path)}
    assert changed
    assert all(lost in path.parents for path in changed)


MINE = """
from dataclasses import dataclass
from ifl.methods.ifl import IFL

@dataclass(frozen=True)
class Mine(IFL):
    title: str = "My own"
"""


def test_a_method_of_ones_own_is_drawn_with_its_title(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mymethod.py").write_text(MINE)
    own = tmp_path / "conf" / "method"
    own.mkdir(parents=True)
    (own / "mine.yaml").write_text("_target_: mymethod.Mine\ntau: ${local.tau}\n")
    (own / "preset.yaml").write_text(
        "defaults: [ifl, _self_]\nstage2: per_client\ntitle: A preset\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    quick = ["study=paper/communication", "rounds=2", "local.tau=1", "clients=mlp_homogeneous"]
    quick += ["launcher=basic", "runtime.quiet=true", "checkpoint_every=null", "runtime.workers=1"]
    methods = "method=ifl,mine,preset,local"
    done = run_py(tmp_path, "-m", "--config-dir", str(own.parent), methods, *quick)
    assert done.returncode == 0, done.stderr
    assert command(monkeypatch, tmp_path / "paper" / "communication") == 0
    table = (tmp_path / "paper/communication/plots/traffic-Digits.md").read_text().splitlines()
    head = "| direction | kind | IFL (MB) | A preset (MB) | My own (MB) | no communication (MB) |"
    assert table[0] == head
    assert table[2].startswith("| up | fusion outputs z | 0.4")


def check_numbers(runs: list[Path], out: Path) -> None:
    """Compare accuracies at uplinks with those computed anew from the runs' rounds.csv."""
    found: dict[str, list[list[dict[str, str]]]] = {}
    for run in runs:
        choices = json.loads((run / "run.json").read_text())["choices"]
        name = METHODS.get(choices["method"]) or COMMON.get(choices["clients"])
        if name and choices["method"] in ("ifl", "fsl", "fl"):
            with open(run / "rounds.csv") as file:
                found.setdefault(name, []).append([*csv.DictReader(file)])
    with open(out / "accuracy-at-uplink-Digits.csv") as file:
        rows = [*csv.DictReader(file)]
    assert {(row["method"], row["uplink counted"]) for row in rows} == {
        (name, way) for name in found for way in ("per client", "all clients")
    }
    compared = 0
    for row in rows:
        share = 4 if row["uplink counted"] == "per client" else 1
        assert int(row["seeds"]) == 2
        for mb in (1, 2, 4, 8.5, 20):
            last = [
                [100 * float(r["accuracy_mean"]) for r in rounds
                 if int(r["uplink_bytes"]) / share <= mb * 1_000_000][-1:]
                for rounds in found[row["method"]]
            ]  # fmt: skip
            values = [value for some in last for value in some]
            if not values:
                assert row[f"at {mb} MB (%)"] == ""
                continue
            compared += 1
            assert float(row[f"at {mb} MB (%)"]) == pytest.approx(np.mean(values), rel=1e-5)
            told = row[f"at {mb} MB (%), seeds"] or row[f"at {mb} MB (%)"]  # none: equal ones
            found_values = sorted(map(float, told.split("; ")))
            expected = sorted(values) if len(found_values) > 1 else [values[0]]
            assert found_values == pytest.approx(expected, rel=1e-5)
    assert compared > 20
