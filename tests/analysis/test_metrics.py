"""What is read off one run, on tables that are known."""

from math import isnan
from pathlib import Path

import pytest
from written_runs import write_run

from ifl.analysis import metrics
from ifl.analysis.collect import Run, load_runs

MATRIX = {("0", "0"): 0.9, ("0", "1"): 0.7, ("1", "0"): 0.4, ("1", "1"): 0.8}


def run(tmp_path: Path, *overrides: str) -> Run:
    """A MB a round over four clients; evaluated in rounds 2, 4 and 6."""
    write_run(tmp_path / "run", *overrides, accuracy={2: 0.5, 4: 0.8, 6: 0.7}, matrix=MATRIX)
    return load_runs(tmp_path)[0][0]


@pytest.mark.parametrize(
    ("mb", "expected"),
    [
        (1.9, (None, None, False)),
        (2, (0.5, 2, False)),
        (3.999, (0.5, 2, False)),
        (5, (0.8, 4, False)),
        (6, (0.7, 6, True)),
        (100, (0.7, 6, True)),
    ],
)
def test_accuracy_at_an_uplink_is_that_of_the_last_evaluation_before(
    tmp_path: Path, mb: float, expected: tuple[float | None, float | None, bool]
) -> None:
    assert metrics.accuracy_at(run(tmp_path), mb, "uplink_mb") == expected


def test_accuracy_at_an_uplink_per_client_counts_a_quarter(tmp_path: Path) -> None:
    assert metrics.accuracy_at(run(tmp_path), 1, "uplink_mb_per_client") == (0.8, 1, False)


def test_the_first_evaluation_that_reaches_an_accuracy_counts(tmp_path: Path) -> None:
    mine = run(tmp_path)
    assert metrics.first_reaching(mine, 0.7, "uplink_mb") == 4
    assert metrics.first_reaching(mine, 0.8, "round") == 4
    assert metrics.first_reaching(mine, 0.81, "uplink_mb") is None


def test_a_row_of_the_matrix_has_own_cross_and_population_sd(tmp_path: Path) -> None:
    rows = metrics.by_base(run(tmp_path))
    assert rows["0"] == pytest.approx((0.8, 0.9, 0.7, 10))
    assert rows["1"] == pytest.approx((0.6, 0.8, 0.4, 20))
    assert metrics.worst(run(tmp_path)) == 0.4


def test_the_sd_of_all_compositions_is_wider_where_base_blocks_differ(tmp_path: Path) -> None:
    # 90, 70, 40 and 80 % are 20, 0, -30 and 10 points from their mean.
    assert metrics.sd_of_all(run(tmp_path)) == pytest.approx(((400 + 0 + 900 + 100) / 4) ** 0.5)
    write_run(tmp_path / "one", "method=fl", matrix={("server", "server"): 0.5})
    assert isnan(metrics.sd_of_all(load_runs(tmp_path / "one")[0][0]))


def test_families_are_those_of_the_clients_that_meet(tmp_path: Path) -> None:
    mine = run(tmp_path, "clients=shallow_and_deep")
    one, ten = "1 convolution", "10 convolutions"
    assert metrics.by_family(mine) == {(one, ten): 0.7, (ten, one): 0.4}
    assert [metrics.owner_name(mine, owner) for owner in ("2", "3", "server")] == [
        one,
        ten,
        "server",
    ]


def test_own_blocks_on_the_own_class_mix_are_those_of_one_owner_or_the_server(
    tmp_path: Path,
) -> None:
    # SQUARE: own blocks have 0.9 and 0.8; written_runs gives each pair its accuracy as that too
    write_run(tmp_path / "own")
    write_run(tmp_path / "server", "method=fl", matrix={("server", "server"): 0.7})
    found = {run.method.choice: metrics.own_mix(run) for run in load_runs(tmp_path)[0]}
    assert found == {"ifl": pytest.approx(0.85), "fl": pytest.approx(0.7)}


def test_without_compositions_there_is_no_accuracy_on_the_own_class_mix(tmp_path: Path) -> None:
    write_run(tmp_path / "none", matrix={("0", "1"): 0.2})
    (run,) = load_runs(tmp_path)[0]
    assert isnan(metrics.own_mix(run))
