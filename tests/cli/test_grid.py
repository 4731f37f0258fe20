"""Unions of grids, as an experiment states them."""

from typing import Any

import pytest
from conftest import sweeper

GRIDS = [
    {"method": "ifl,fsl", "clients": "paper"},
    {"method": "fl", "clients": "cnn_homogeneous", "rounds": "choice(40, 50)"},
    {"method": "centralized", "method.architecture": "range(2)", "stop.uplink_mb": None},
]


def jobs(typed: list[str], params: Any = None, grids: Any = None) -> list[str]:
    """Return the jobs that these parts span."""
    return [" ".join(job) for job in sweeper(params=params, grids=grids).jobs(typed)]


def test_each_grid_is_combined_with_params_and_what_is_typed() -> None:
    assert jobs(["seed=0,1"], {"data": "digits"}, GRIDS[:2]) == [
        "data=digits method=ifl clients=paper seed=0",
        "data=digits method=ifl clients=paper seed=1",
        "data=digits method=fsl clients=paper seed=0",
        "data=digits method=fsl clients=paper seed=1",
        "data=digits method=fl clients=cnn_homogeneous rounds=40 seed=0",
        "data=digits method=fl clients=cnn_homogeneous rounds=40 seed=1",
        "data=digits method=fl clients=cnn_homogeneous rounds=50 seed=0",
        "data=digits method=fl clients=cnn_homogeneous rounds=50 seed=1",
    ]


def test_a_grid_is_more_special_than_params() -> None:
    assert jobs([], {"seed": "0,1"}, [{"method": "ifl"}, {"method": "fl", "seed": 0}]) == [
        "seed=0 method=ifl",
        "seed=1 method=ifl",
        "seed=0 method=fl",
    ]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("rounds=7", 2 + 1 + 2),
        ("clients=paper", 2 + 2 + 2),
        ("clients.count=2", 2 + 2 + 2),
        ("method.architecture=1", 2 + 2 + 1),
    ],
)
def test_what_is_typed_replaces_its_key_everywhere(typed: str, expected: int) -> None:
    found = jobs([typed], grids=GRIDS)
    assert len(found) == expected
    assert all(typed in job.split() for job in found)


def test_a_typed_choice_replaces_the_values_below_it_and_equal_jobs_are_one() -> None:
    assert jobs(["method=local"], {"optimizer.lr": "0.1"}, GRIDS) == [
        "optimizer.lr=0.1 clients=paper method=local",
        "optimizer.lr=0.1 clients=cnn_homogeneous rounds=40 method=local",
        "optimizer.lr=0.1 clients=cnn_homogeneous rounds=50 method=local",
        "optimizer.lr=0.1 stop.uplink_mb=null method=local",
    ]
    twice = [{"seed": "0,1", "rounds": "1"}, {"rounds": "1,2", "seed": "1"}]
    assert jobs([], grids=twice) == [
        "seed=0 rounds=1",
        "seed=1 rounds=1",
        "rounds=2 seed=1",
    ]


def test_without_grids_there_is_one_of_params_and_what_is_typed() -> None:
    assert jobs(["seed=0,1"], {"method": "ifl,fl"}) == [
        "method=ifl seed=0",
        "method=ifl seed=1",
        "method=fl seed=0",
        "method=fl seed=1",
    ]
    assert jobs([]) == [""]
