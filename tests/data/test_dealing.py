"""What a partition returns is checked where it enters, and named by client and sample."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from conftest import MOMENTUM, SMALL, TINY

from ifl.client.settings import Optimizers, Training
from ifl.comm.codecs import Float32
from ifl.data.dealing import deal
from ifl.data.partition import Dirichlet
from ifl.errors import ConfigError
from ifl.federation.build import Federation, build
from ifl.methods.local import Local

LABELS = np.arange(10) % 3
RNG = np.random.default_rng(0)
HALVES = [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


def returning(parts: Any) -> Callable[..., Any]:
    def own(labels: np.ndarray, clients: int, generator: np.random.Generator) -> Any:
        return parts

    return own


def dealt(partition: Any, clients: int = 2) -> list[list[int]]:
    parts = deal(partition, LABELS, clients, RNG)
    assert all(part.dtype == np.int64 for part in parts)
    return [part.tolist() for part in parts]


@pytest.mark.parametrize(
    "parts",
    [
        HALVES,
        tuple(HALVES),
        np.array(HALVES),
        np.array(HALVES, dtype=np.uint8),
        torch.tensor(HALVES),
        [torch.tensor(half, dtype=torch.int32) for half in HALVES],
        [range(5), tuple(HALVES[1])],
        (half for half in HALVES),
    ],
)
def test_arrays_lists_and_tensors_of_whole_numbers_are_taken(parts: Any) -> None:
    assert dealt(returning(parts)) == HALVES


WRONG = {
    "one part": ([HALVES[0]], "returned 1 parts for 2 clients"),
    "a part too many": ([*HALVES, [0]], "returned 3 parts for 2 clients"),
    "none": (None, "returned a value of type NoneType; it must return a list of 2 arrays"),
    "by client": ({0: HALVES[0], 1: HALVES[1]}, "returned dict of 2; it must return a list"),
    "masks": ([LABELS == 0, LABELS != 0], "gives client 0 a mask of 10 flags; .*flatnonzero"),
    "flags": ([HALVES[0], [True, False]], "gives client 1 a mask of 2 flags"),
    "floats": (np.array(HALVES) * 1.0, "client 0 an array of float64, such as .*0.0"),
    "text": ([HALVES[0], ["5", "6"]], "client 1 an array of <U1, such as"),
    "objects": ([HALVES[0], np.array([5, None])], "client 1 an array of object"),
    "generators": ([iter(HALVES[0]), HALVES[1]], "client 0 a value of type list_iterator"),
    "sets": ([{0, 1}, {2, 3}], "client 0 set of 2; return a one-dimensional array"),
    "columns": (np.array(HALVES)[..., None], r"client 0 an array of shape \(5, 1\)"),
    "ragged": ([HALVES[0], [[5, 6], [7]]], "client 1 a list of lists"),
    "a number": ([HALVES[0], 5], "client 1 a value of type int"),
    "empty": ([list(range(10)), []], "gives client 1 no sample; .* or lower clients.count"),
    "empty tensor": ([torch.arange(10), torch.tensor([])], "gives client 1 no sample"),
    "negative": ([HALVES[0], [5, 6, -1]], "client 1 sample -1 at place 2 .* 10 training samples"),
    "over": ([[0, 10], HALVES[1]], "client 0 sample 10 at place 1 .* 0 to 9"),
    "twice": ([[0, 1, 2, 3, 4, 4], HALVES[1]], r"client 0 sample 4 \(class 1\) 2 times.*repeats"),
    "shared": ([HALVES[0], [*HALVES[1], 2]], r"sample 2 \(class 2\) to client 0 and to client 1"),
    "left out": ([HALVES[0], [5, 6, 8, 9]], r"sample 7 \(class 1\) to no client, and 0 more of 10"),
}


@pytest.mark.parametrize("case", WRONG)
def test_anything_else_is_one_sentence(case: str) -> None:
    parts, sentence = WRONG[case]
    with pytest.raises(ConfigError, match=sentence) as told:
        dealt(returning(parts))
    assert "the partition test_dealing.returning.<locals>.own" in str(told.value)
    assert "\n" not in str(told.value)


class Asking:
    def __init__(self, parts: Any, **flags: Any) -> None:
        self.parts = parts
        vars(self).update(flags)

    def __call__(self, labels: np.ndarray, clients: int, generator: object) -> Any:
        return self.parts


TWICE, SHARED, LEFT = [[0, 0, *HALVES[0]], HALVES[1]], [HALVES[0], [4, *HALVES[1]]], [[0], [1]]


@pytest.mark.parametrize(
    ("parts", "flag"),
    [(TWICE, {"repeats": True}), (SHARED, {"overlap": True}), (LEFT, {"exhaustive": False})],
)
def test_overlap_repeats_and_leaving_out_are_there_for_who_asks(
    parts: Any, flag: dict[str, bool]
) -> None:
    assert dealt(Asking(parts, **flag)) == parts
    function = returning(parts)
    vars(function).update(flag)
    assert dealt(function) == parts
    assert dealt(partial(function)) == parts  # as Hydra makes one with _partial_: true
    others = {"repeats": True, "overlap": True, "exhaustive": False}
    del others[next(iter(flag))]
    with pytest.raises(ConfigError, match=f"set {next(iter(flag))} = "):
        dealt(Asking(parts, **others))
    with pytest.raises(ConfigError, match="overlap of the partition .* must be true or false"):
        dealt(Asking(parts, overlap="yes"))


def test_what_a_partition_does_to_the_labels_it_is_given_stays_with_it() -> None:
    def own(labels: np.ndarray, clients: int, generator: object) -> Any:
        labels[:] = 0
        return HALVES

    before = LABELS.copy()
    assert dealt(own) == HALVES
    assert np.array_equal(LABELS, before)


def test_a_partition_that_fails_is_a_sentence_with_the_line() -> None:
    def own(labels: np.ndarray, clients: int, generator: object) -> Iterator[list[int]]:
        yield HALVES[0]
        raise KeyError("hospital")

    with pytest.raises(ConfigError, match=r"fails with KeyError \('hospital'\) in line \d+ of .*"):
        dealt(own)
    with pytest.raises(ConfigError, match="fails with TypeError"):
        dealt(lambda labels: HALVES)
    with pytest.raises(ConfigError, match="lower partition.min_samples"):
        deal(Dirichlet(1.0, min_samples=600), LABELS, 2, RNG)  # its own sentence


def test_a_partition_that_takes_owners_is_given_them() -> None:
    def own(labels: np.ndarray, clients: int, generator: object, owners: Any = None) -> Any:
        return [np.flatnonzero(owners == name) for name in np.unique(owners)]

    owners = np.array(["a", "b"])[LABELS % 2]
    parts = deal(own, LABELS, 2, RNG, owners)
    assert [set(owners[part]) for part in parts] == [{"a"}, {"b"}]


def built(partition: Any) -> Federation:
    training = Training(Optimizers(MOMENTUM, MOMENTUM), batch_size=8)
    return build(TINY, partition, [SMALL], 2, Local(), training, Float32(), 8)


def test_it_enters_where_a_federation_is_built() -> None:
    n = len(TINY.train)
    rest = list(range(120, n))
    with pytest.raises(ConfigError, match=f"there are {n} training samples"):
        built(returning([list(range(120)), [*rest, n]]))
    before = TINY.train.y.clone()

    def own(labels: np.ndarray, clients: int, generator: object) -> Any:
        labels[:] = 0
        return [list(range(120)), rest]

    made = built(own)
    assert torch.equal(TINY.train.y, before)
    assert torch.equal(made.engine.clients[1].shard.y, before[120:])
    asked = Asking([rest, rest], overlap=True, exhaustive=False)
    assert len(built(asked).engine.clients[0].shard) == 120
