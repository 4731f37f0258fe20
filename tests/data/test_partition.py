from functools import partial

import numpy as np
import pytest
from conftest import composed, options
from hypothesis import given, settings
from hypothesis import strategies as st

from ifl.cli.build import make
from ifl.data.dealing import takes_owners
from ifl.data.partition import Classes, Dirichlet, Iid, Partition, Quantity
from ifl.errors import ConfigError

labels_of = st.lists(st.integers(0, 12), min_size=1, max_size=300).map(np.array)
seeds = st.integers(0, 2**32)


def check(partition: Partition, labels: np.ndarray, clients: int, seed: int) -> list[np.ndarray]:
    """A partition is disjoint, exhaustive and the same for the same generator."""
    parts = partition(labels, clients, np.random.default_rng(seed))
    assert len(parts) == clients
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    again = partition(labels, clients, np.random.default_rng(seed))
    assert all(np.array_equal(a, b) for a, b in zip(parts, again, strict=True))
    return [*parts]


@settings(max_examples=200, deadline=None)
@given(labels=labels_of, share=st.floats(0.001, 1), seed=seeds)
def test_iid_is_a_partition_into_equal_shares(labels: np.ndarray, share: float, seed: int) -> None:
    clients = max(1, int(share * len(labels)))
    sizes = [len(part) for part in check(Iid(), labels, clients, seed)]
    assert max(sizes) - min(sizes) <= 1


@settings(max_examples=200, deadline=None)
@given(
    labels=labels_of,
    share=st.floats(0.001, 1),
    alpha=st.floats(1e-320, 1e6, allow_subnormal=True),
    seed=seeds,
)
def test_dirichlet_is_a_partition_for_any_labels_clients_and_alpha(
    labels: np.ndarray, share: float, alpha: float, seed: int
) -> None:
    clients = max(1, int(share * len(labels)))
    check(Dirichlet(alpha, min_samples=0), labels, clients, seed)


@settings(max_examples=100, deadline=None)
@given(
    labels=labels_of,
    clients=st.integers(1, 8),
    alpha=st.floats(0.05, 100),
    least=st.integers(0, 5),
    seed=seeds,
)
def test_dirichlet_gives_everybody_min_samples_or_refuses(
    labels: np.ndarray, clients: int, alpha: float, least: int, seed: int
) -> None:
    partition = Dirichlet(alpha, min_samples=least, max_redraws=20)
    try:
        parts = check(partition, labels, clients, seed)
    except ConfigError:
        return
    assert min(len(part) for part in parts) >= least


@settings(max_examples=200, deadline=None)
@given(labels=labels_of, clients=st.integers(1, 12), per_client=st.integers(1, 5), seed=seeds)
def test_classes_deals_any_labels_or_refuses(
    labels: np.ndarray, clients: int, per_client: int, seed: int
) -> None:
    try:
        parts = check(Classes(per_client), labels, clients, seed)
    except ConfigError:
        return
    assert all(len(np.unique(labels[part])) == per_client for part in parts)


@settings(max_examples=200, deadline=None)
@given(classes=st.integers(1, 10), clients=st.integers(1, 12), extra=st.integers(0, 9), seed=seeds)
def test_classes_gives_every_client_its_number_of_classes(
    classes: int, clients: int, extra: int, seed: int
) -> None:
    labels = np.repeat(np.arange(classes), 20)
    per_client = min(classes, -(-classes // clients) + extra)
    parts = check(Classes(per_client), labels, clients, seed)
    assert [len(np.unique(labels[part])) for part in parts] == [per_client] * clients


@pytest.mark.parametrize("option", options("partition"))
def test_every_partition_yaml_deals_the_digits_to_four_clients(option: str) -> None:
    labels = np.arange(1440) % 10
    partition = make(composed(f"partition={option}").partition)
    told = {"owners": np.arange(1440) % 7} if takes_owners(partition) else {}
    check(partial(partition, **told), labels, 4, 0)


@settings(max_examples=60, deadline=None)
@given(labels=labels_of, share=st.floats(0.001, 1), beta=st.floats(1e-320, 1e6), seed=seeds)
def test_quantity_deals_any_labels_and_leaves_classes_as_in_the_whole(
    labels: np.ndarray, share: float, beta: float, seed: int
) -> None:
    clients = max(1, int(share * len(labels)))
    whole = np.bincount(labels, minlength=13) / len(labels)
    for part in check(Quantity(beta, min_samples=0), labels, clients, seed):
        classes = np.bincount(labels[part], minlength=13)
        # in a stretch of the line on which all samples lie, evenly spaced by class, each class is
        # one off at most; so is the length of the stretch by each class
        assert np.all(np.abs(classes - len(part) * whole) <= 1 + 1e-9 + (whole > 0).sum() * whole)


@pytest.mark.parametrize("seed", range(5))
def test_a_smaller_beta_makes_sizes_less_equal_and_min_samples_holds(seed: int) -> None:
    labels = np.arange(2000) % 10

    def sizes(beta: float, least: int = 1) -> list[int]:
        parts = Quantity(beta, min_samples=least)(labels, 5, np.random.default_rng(seed))
        assert all(np.ptp(np.bincount(labels[part], minlength=10)) <= 2 for part in parts)
        return [len(part) for part in parts]

    assert np.std(sizes(0.5)) > np.std(sizes(1000))
    assert min(sizes(0.3, least=50)) >= 50


def test_sizes_that_cannot_be_are_one_sentence() -> None:
    with pytest.raises(ConfigError, match="partition.beta must be a number > 0, got 0; use"):
        Quantity(0)
    with pytest.raises(ConfigError, match="beta=0.01 gave some client fewer than min_samples=32"):
        Quantity(0.01, 32, max_redraws=5)(np.zeros(1000), 30, np.random.default_rng(0))
    with pytest.raises(ConfigError, match="lower partition.min_samples"):
        Quantity(1, 600)(np.zeros(1000), 2, np.random.default_rng(0))


def test_dirichlet_honours_min_samples_at_a_small_alpha() -> None:
    labels = np.arange(1000) % 10
    parts = Dirichlet(0.05, min_samples=40)(labels, 4, np.random.default_rng(0))
    assert min(len(part) for part in parts) >= 40


def test_dirichlet_gives_up_instead_of_hanging() -> None:
    labels = np.arange(1000) % 10
    with pytest.raises(ConfigError, match="alpha=0.01 gave some client fewer than min_samples=32"):
        Dirichlet(0.01, min_samples=32, max_redraws=50)(labels, 30, np.random.default_rng(0))
    with pytest.raises(ConfigError, match="lower partition.min_samples"):
        Dirichlet(1.0, min_samples=600)(labels, 2, np.random.default_rng(0))


def test_a_smaller_alpha_makes_shards_less_equal() -> None:
    labels = np.arange(5000) % 10

    def spread(alpha: float) -> float:
        parts = Dirichlet(alpha)(labels, 5, np.random.default_rng(0))
        counts = [np.bincount(labels[part], minlength=10) for part in parts]
        return float(np.std(counts))

    assert spread(0.1) > spread(1) > spread(100)


def test_what_cannot_be_is_refused_with_a_way_out() -> None:
    with pytest.raises(
        ConfigError, match="partition.alpha must be .* > 0, got -1; use partition=iid"
    ):
        Dirichlet(-1)
    with pytest.raises(ConfigError, match="goes with partition=dirichlet"):
        Iid(alpha=0.5)
    with pytest.raises(ConfigError, match="cannot cover 10 classes; it must be between 3 and 10"):
        Classes(2)(np.arange(100) % 10, 4, np.random.default_rng(0))
    with pytest.raises(ConfigError, match=r"clients.count must be between 1 and the 3 training"):
        Iid()(np.zeros(3), 4, np.random.default_rng(0))
