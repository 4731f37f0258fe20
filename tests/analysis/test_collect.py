"""Figures and tables from run folders that these tests write, with the real configurations."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from written_runs import T2, command, write_run

from ifl.analysis.charts import UPLINK_AXES, draw_matrices
from ifl.analysis.collect import Group, group_runs, load_runs
from ifl.analysis.looks import GREY
from ifl.analysis.studies.general import ROUNDS, draw_curves, summarise, tabulate
from ifl.cli import plot


def grouped(root: Path) -> list[Group]:
    return group_runs(load_runs(root)[0])


def names(root: Path) -> list[str]:
    return [group.name for group in grouped(root)]


def line_of(figure: Figure, label: str, panel: int = 0) -> tuple[list[float], list[float]]:
    (line,) = [line for line in figure.axes[panel].lines if line.get_label() == label]
    return np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()


# Reading


def test_the_table_has_mean_and_t_interval_over_seeds(tmp_path: Path) -> None:
    final = [0.61, 0.64, 0.70]
    for seed, value in enumerate(final):
        write_run(tmp_path / str(seed), f"seed={seed}", accuracy={5: 0.3, 10: value})
    (row,) = tabulate(grouped(tmp_path)).to_dict("records")
    assert (row["label"], row["data"], row["seeds"], row["rounds"]) == ("ifl", "Digits", 3, 10)
    assert row["accuracy_mean"] == pytest.approx(np.mean(final))
    expected = T2 * np.std(final, ddof=1) / np.sqrt(3)
    assert row["accuracy_mean_half_width"] == pytest.approx(expected)
    assert (row["accuracy_local"], row["accuracy_local_half_width"]) == (0.75, 0)
    assert np.isnan(row["accuracy_cross"])
    assert (row["sd_points"], row["seconds"]) == (2.5, 5)
    assert (row["uplink_mb"], row["uplink_mb_per_client"], row["downlink_mb"]) == (10, 2.5, 40)


def test_one_seed_has_no_interval(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    table = tabulate(grouped(tmp_path))
    assert table["accuracy_mean_half_width"].isna().all()
    head, rule, row = summarise(grouped(tmp_path)).markdown().splitlines()[:3]
    assert head.count("|") == rule.count("|") == row.count("|")
    expected = (
        "| ifl | Digits | 1 | 60.0 | 75.0 | - | 2.50 | 35.36 | 10.00 | 2.50 | 40.00 | 10 | 5.0 |"
    )
    assert row == expected


def test_runs_of_one_configuration_are_one_group_wherever_they_lie(tmp_path: Path) -> None:
    write_run(tmp_path / "a" / "run", "seed=0")
    write_run(tmp_path / "b" / "deep" / "er" / "run", "seed=1", "outputs=b", "runtime.threads=2")
    (group,) = grouped(tmp_path)
    assert sorted(run.seed for run in group.runs) == [0, 1]


def test_neighbours_of_different_configurations_are_two_groups(tmp_path: Path) -> None:
    write_run(tmp_path / "run", "seed=0")
    write_run(tmp_path / "run-2", "seed=1", "optimizer.lr=0.1")
    assert names(tmp_path) == ["ifl, optimizer.lr=0.01", "ifl, optimizer.lr=0.1"]


def test_unfinished_runs_are_named_and_left_out(tmp_path: Path) -> None:
    write_run(tmp_path / "done", "seed=0")
    write_run(tmp_path / "cut", "seed=1", finished=False)
    write_run(tmp_path / "lost", "seed=2", finished=False, stop_reason="diverged: loss is nan")
    runs, notes = load_runs(tmp_path)
    assert [run.path for run in runs] == [tmp_path / "done"]
    assert notes == [
        f"{tmp_path / 'cut'} left out: not finished (running or interrupted)",
        f"{tmp_path / 'lost'} left out: not finished (diverged: loss is nan)",
    ]


@pytest.mark.parametrize("content", ["", '{"finished": tr', "[]", "{}", "\udcff"])
def test_a_damaged_run_json_is_named(tmp_path: Path, content: str) -> None:
    write_run(tmp_path / "done")
    bad = tmp_path / "bad" / "run.json"
    bad.parent.mkdir()
    bad.write_bytes(content.encode(errors="surrogateescape"))
    runs, (note,) = load_runs(tmp_path)
    assert len(runs) == 1
    assert note.startswith(f"{bad.parent} left out: its run.json is damaged")


@pytest.mark.parametrize("name", ["rounds.csv", "compositions.csv"])
@pytest.mark.parametrize("content", [None, "", "round\n1\n", 'a,b\n1,2,3,4\n"', "\0"])
def test_a_damaged_table_is_named(tmp_path: Path, name: str, content: str | None) -> None:
    write_run(tmp_path / "done", "seed=0")
    bad = write_run(tmp_path / "bad", "seed=1") / name
    bad.unlink()
    if content is not None:
        bad.write_text(content)
    runs, (note,) = load_runs(tmp_path)
    assert len(runs) == 1
    assert note.startswith(f"{bad.parent} left out: a file is missing or damaged (")
    assert "\n" not in note


@pytest.mark.parametrize("newest", ["run", "run-2", "run-3"])
def test_of_several_attempts_the_newest_counts_once(tmp_path: Path, newest: str) -> None:
    for name in ("run", "run-2", "run-3"):
        mine = name == newest
        when = f"2026-01-0{2 if mine else 1}T00:00:00+00:00"
        write_run(tmp_path / name, accuracy={10: 0.9 if mine else 0.1}, ended=when)
    runs, notes = load_runs(tmp_path)
    assert [run.path.name for run in runs] == [newest]
    assert len(notes) == 2
    assert all(note.endswith("left out: the same was run again later") for note in notes)
    assert tabulate(group_runs(runs))["accuracy_mean"].tolist() == [0.9]


def test_owners_keep_their_order_beyond_nine_clients(tmp_path: Path) -> None:
    write_run(tmp_path / "run", matrix={(str(k), "server"): k / 20 for k in range(12)})
    (group,) = grouped(tmp_path)
    matrix = group.matrix()
    assert [*matrix.index] == [str(k) for k in range(12)]
    assert [*matrix.columns] == ["server"]


def test_the_matrix_is_the_mean_over_seeds_of_the_last_round(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((3, 2, 2))
    for seed, value in enumerate(values):
        matrix = {(str(k), str(i)): float(a) for (k, i), a in np.ndenumerate(value)}
        write_run(
            tmp_path / str(seed), f"seed={seed}", accuracy={5: 0.1, 6 + seed: 0.2}, matrix=matrix
        )
    (group,) = grouped(tmp_path)
    np.testing.assert_allclose(group.matrix(), values.mean(axis=0))


# Labels


def test_where_only_the_method_differs_it_is_the_label(tmp_path: Path) -> None:
    for method in ("ifl", "fsl", "local"):
        write_run(tmp_path / method, f"method={method}")
    assert names(tmp_path) == ["fsl", "ifl", "local"]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (["local.tau=5"], [], ["ifl, local.tau=5", "ifl, local.tau=10"]),  # and not method.tau
        (["local=tau1"], [], ["ifl, local.tau=1", "ifl, local.tau=10"]),
        (["local=tau1", "local.tau=10"], ["seed=1"], ["ifl"]),  # a choice is not a difference
        (["fusion.dim=64"], [], ["ifl, fusion.dim=64", "ifl, fusion.dim=432"]),
        (["clients=cnn_homogeneous"], [], ["ifl, cnn_homogeneous", "ifl, paper"]),
        (["clients.count=8"], [], ["ifl, clients.count=4", "ifl, clients.count=8"]),
        (["stop.uplink_mb=8.5"], [], ["ifl, stop.uplink_mb=8.5", "ifl, stop.uplink_mb=null"]),
        (["optimizer=adam"], [], ["ifl, adam", "ifl, momentum"]),
        (["method=fsl", "method.sync_base=true"], ["method=fsl"],
         ["fsl, method.sync_base=false", "fsl, method.sync_base=true"]),
        (["partition=dirichlet"], ["partition=dirichlet", "partition.alpha=0.1"],
         ["ifl, partition.alpha=0.1", "ifl, partition.alpha=0.5"]),
        (["method=fsl", "rounds=50"], [], ["fsl, rounds=50", "ifl, rounds=100"]),
    ],
)  # fmt: skip
def test_a_label_names_what_differs(
    tmp_path: Path, first: list[str], second: list[str], expected: list[str]
) -> None:
    write_run(tmp_path / "1", *first)
    write_run(tmp_path / "2", *second)
    assert names(tmp_path) == expected


def test_places_and_resources_are_no_part_of_a_label(tmp_path: Path) -> None:
    write_run(tmp_path / "1", "outputs=a", "runtime.threads=1", "data.root=x", "data=kmnist")
    write_run(tmp_path / "2", "method=fsl", "data=kmnist", "study=b", "seed=3")
    assert names(tmp_path) == ["fsl", "ifl"]


def test_values_are_compared_within_a_choice(tmp_path: Path) -> None:
    write_run(tmp_path / "1", "method=fsl", "local.tau=10")
    write_run(tmp_path / "2", "method=fsl", "local.tau=10", "method.server=per_client")
    write_run(tmp_path / "3", "method=ifl", "local.tau=10")
    assert names(tmp_path) == ["fsl, method.server=per_client", "fsl, method.server=shared", "ifl"]


def test_groups_are_sorted_by_the_size_of_their_numbers(tmp_path: Path) -> None:
    for lr in ("0.5", "10", "0.25", "2"):
        write_run(tmp_path / lr, f"optimizer.lr={lr}")
    assert names(tmp_path) == [f"ifl, optimizer.lr={lr}" for lr in ("0.25", "0.5", "2", "10")]


# Figures


def test_curves_average_the_rounds_that_all_seeds_have(tmp_path: Path) -> None:
    early = {5: 0.2, 10: 0.4, 12: 0.9}
    for seed, accuracy in enumerate(
        [early, {5: 0.4, 10: 0.5, 15: 0.7}, {5: 0.6, 10: 0.6, 12: 0.6}]
    ):
        write_run(tmp_path / str(seed), f"seed={seed}", accuracy=accuracy)
    groups = grouped(tmp_path)
    curve = groups[0].curve()
    assert curve["round"].tolist() == [5, 10]
    half = T2 * np.std([0.4, 0.5, 0.6], ddof=1) / np.sqrt(3)
    assert curve[["low", "high"]].to_numpy()[1].tolist() == pytest.approx([0.5 - half, 0.5 + half])
    x, y = line_of(draw_curves(groups, ROUNDS), "ifl")
    assert x == [5, 10]
    assert y == pytest.approx([40, 50])


def test_an_interval_stays_between_0_and_100_per_cent(tmp_path: Path) -> None:
    write_run(tmp_path / "1", "seed=0", accuracy={10: 0.2})
    write_run(tmp_path / "2", "seed=1", accuracy={10: 0.9})
    (group,) = grouped(tmp_path)
    assert group.curve()[["low", "high"]].to_numpy().tolist() == [[0.2, 0.9]]  # those of two seeds
    write_run(tmp_path / "3", "seed=2", accuracy={10: 0.9})
    (group,) = grouped(tmp_path)
    assert group.curve()[["low", "high"]].to_numpy().tolist() == [[0, 1]]


def test_seeds_without_a_common_round_are_said_to_be_so(tmp_path: Path) -> None:
    write_run(tmp_path / "1", "seed=0", accuracy={3: 0.2})
    write_run(tmp_path / "2", "seed=1", accuracy={4: 0.9})
    figure = draw_curves(grouped(tmp_path), UPLINK_AXES)
    assert line_of(figure, "ifl (no round common to its seeds)") == ([], [])


def test_uplink_is_in_megabytes_of_all_clients_and_per_client(tmp_path: Path) -> None:
    write_run(tmp_path / "run", "clients.count=8", uplink=2_000_000)
    figure = draw_curves(grouped(tmp_path), UPLINK_AXES)
    both, each = figure.axes
    assert (both.get_xlabel(), each.get_xlabel()) == tuple(UPLINK_AXES.values())
    assert (both.get_xscale(), each.get_xscale()) == ("log", "log")
    assert line_of(figure, "ifl", panel=0)[0] == [10, 20]
    assert line_of(figure, "ifl", panel=1)[0] == [1.25, 2.5]


@pytest.mark.parametrize(("last", "between"), [(100, ["2", "5"]), (10_000, [])])
def test_uplink_ticks_are_plain_numbers_and_not_crowded(
    tmp_path: Path, last: int, between: list[str]
) -> None:
    write_run(tmp_path / "run", accuracy={1: 0.1, last: 0.2})
    axes = draw_curves(grouped(tmp_path), UPLINK_AXES).axes[0]
    ticks = [text.get_text() for text in axes.get_xticklabels()]
    assert ticks[ticks.index("1") : ticks.index("10") + 1] == ["1", *between, "10"]


def test_who_sends_nothing_is_a_level_line_over_uplink(tmp_path: Path) -> None:
    write_run(tmp_path / "1", "method=ifl")
    write_run(tmp_path / "2", "method=local", uplink=0, accuracy={5: 0.2, 10: 0.3})
    groups = grouped(tmp_path)
    assert line_of(draw_curves(groups, UPLINK_AXES), "local (sends nothing)") == ([0, 1], [30, 30])
    assert line_of(draw_curves(groups, ROUNDS), "local") == ([5, 10], [20, 30])


def test_eight_lines_differ_in_more_than_colour_and_the_rest_are_grey(tmp_path: Path) -> None:
    for tau in range(1, 21):
        write_run(tmp_path / str(tau), f"local.tau={tau}", accuracy={1: tau / 100, 2: tau / 30})
    figure = draw_curves(grouped(tmp_path), ROUNDS)
    grey: list[Line2D] = []
    coloured: list[Line2D] = []
    for line in figure.axes[0].lines:
        (grey if line.get_gid() == GREY["gid"] else coloured).append(line)
    best = {f"ifl, local.tau={tau}" for tau in (1, *range(14, 21))}
    assert {line.get_label() for line in coloured} == best  # 1 has the shortest name
    assert len({to_hex(line.get_color()) for line in coloured}) == 8
    assert len({(line.get_linestyle(), line.get_marker()) for line in coloured}) == 8
    assert {to_hex(line.get_color()) for line in grey} == {GREY["color"].lower()}
    (note,) = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert note == "12 more, named in the table"


def test_cells_hold_per_cents_as_long_as_they_are_legible(tmp_path: Path) -> None:
    write_run(tmp_path / "1")
    big = {(str(k), str(i)): 0.5 for k in range(9) for i in range(9)}
    write_run(tmp_path / "2", "clients.count=9", matrix=big)
    figure = draw_matrices(grouped(tmp_path))
    assert figure is not None
    small, large, scale = figure.axes
    assert [text.get_text() for text in small.texts] == ["90.0", "10.0", "20.0", "80.0"]
    assert not large.texts
    assert small.images[0].get_clim() == large.images[0].get_clim() == (10, 100)
    assert scale.get_ylabel() == "test accuracy (%)"


def test_a_single_composition_has_no_panel(tmp_path: Path) -> None:
    write_run(tmp_path / "1", "method=fl", matrix={("server", "server"): 0.5})
    assert draw_matrices(grouped(tmp_path)) is None
    write_run(tmp_path / "2", "method=fsl", matrix={("0", "server"): 1.0, ("1", "server"): 1.0})
    figure = draw_matrices(grouped(tmp_path))
    assert figure is not None
    assert [axes.get_title() for axes in figure.axes] == ["fsl", ""]  # the colour scale is last
    assert figure.axes[0].images[0].get_clim() == (90, 100)


# The command


def test_everything_is_written_and_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "1", "data=kmnist10k", "seed=0")
    write_run(tmp_path / "2", "data=kmnist10k", "seed=1", finished=False)
    write_run(tmp_path / "3", "data=digits", "method=fl", matrix={("server", "server"): 0.5})
    assert command(monkeypatch, tmp_path) == 0
    out = tmp_path / "plots"
    figures = ["accuracy-uplink-Digits", "accuracy-rounds-Digits", "accuracy-uplink-KMNIST-10k"]
    figures += ["accuracy-rounds-KMNIST-10k", "compositions-KMNIST-10k"]
    names = {f"{name}.{kind}" for name in figures for kind in ("png", "pdf")}
    tables = {f"results.{kind}" for kind in ("csv", "md", "tex")}
    assert {path.name for path in out.iterdir()} == names | tables
    assert all(path.stat().st_size > 100 for path in out.iterdir())
    assert (out / "accuracy-uplink-Digits.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "accuracy-uplink-Digits.pdf").read_bytes().startswith(b"%PDF")
    printed = capsys.readouterr()
    *files, rest = printed.out.split("\n", len(figures) * 2 + 3)
    assert {*files} == {str(path) for path in out.iterdir()}
    assert rest.strip("\n") == (out / "results.md").read_text().strip("\n")
    assert printed.err.count("\n") == 1
    assert str(tmp_path / "2") in printed.err
    assert command(monkeypatch, tmp_path) == 0  # what is there already changes nothing


def test_data_sets_are_never_drawn_together_and_keep_their_names(tmp_path: Path) -> None:
    write_run(tmp_path / "1", "data=kmnist10k")
    write_run(tmp_path / "2", "data=kmnist")
    plot.write(load_runs(tmp_path)[0], tmp_path)
    table = pd.read_csv(tmp_path / "results.csv")
    assert table[["label", "data"]].to_numpy().tolist() == [
        ["ifl", "KMNIST"],
        ["ifl", "KMNIST-10k"],
    ]
    groups = group_runs([run for run in load_runs(tmp_path)[0] if run.data == "KMNIST-10k"])
    figures = draw_curves(groups, ROUNDS), draw_curves(groups, UPLINK_AXES), draw_matrices(groups)
    titles = [figure.get_suptitle() for figure in figures if figure]
    assert len(titles) == 3
    assert all(title.startswith("KMNIST-10k: ") for title in titles)


def test_csv_has_fractions_and_empty_cells(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    plot.write(load_runs(tmp_path)[0], tmp_path)
    head, row = (tmp_path / "results.csv").read_text().splitlines()
    cells = dict(zip(head.split(","), row.split(","), strict=True))
    assert list(cells)[:4] == ["label", "data", "seeds", "accuracy_mean"]
    assert float(cells["accuracy_mean"]) == 0.6
    assert cells["accuracy_mean_half_width"] == cells["accuracy_cross"] == ""


@pytest.mark.parametrize(
    ("root", "message"),
    [
        ("nowhere", "is no folder; name one that holds runs, such as outputs"),
        ("file", "is no folder; name one"),
        ("empty", "(no run.json); make one with scripts/run.py"),
        ("cut", "left out: not finished (running or interrupted); 1 in all); make one with"),
    ],
)
def test_a_place_without_runs_is_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    root: str,
    message: str,
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    write_run(tmp_path / "cut" / "run", finished=False)
    assert command(monkeypatch, tmp_path / root) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("Error: ")
    assert printed.err.count("\n") == 1
    assert str(tmp_path / root) in printed.err
    assert message in printed.err


def test_an_unwritable_folder_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "run")
    (tmp_path / "file").touch()
    assert command(monkeypatch, tmp_path, "--out", tmp_path / "file") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.endswith("; name another folder with --out\n")


def test_plots_load_no_training_code() -> None:
    code = "import sys, ifl.cli.plot; print({'torch', 'matplotlib.pyplot'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
