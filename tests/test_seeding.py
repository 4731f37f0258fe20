import torch

from ifl.seeding import derive, global_stream, numpy_rng, rng


def test_streams_differ_by_seed_by_purpose_and_by_client() -> None:
    names = [(0, "a", 1), (1, "a", 1), (0, "b", 1), (0, "a", 2), (0, "a1"), (0, "a", "1")]
    assert len({derive(int(seed), *name) for seed, *name in names}) == len(names)


def test_a_stream_starts_over_when_it_is_asked_for_again() -> None:
    assert torch.equal(torch.rand(5, generator=rng(3, "x")), torch.rand(5, generator=rng(3, "x")))
    assert numpy_rng(3, "x").random() == numpy_rng(3, "x").random()


def test_another_consumer_shifts_nobody() -> None:
    alone = torch.rand(3, generator=rng(0, "client", 1))
    torch.rand(1000, generator=rng(0, "client", 0))
    assert torch.equal(alone, torch.rand(3, generator=rng(0, "client", 1)))


def test_the_global_generator_is_left_as_it_was() -> None:
    torch.manual_seed(7)
    expected = torch.rand(2)
    torch.manual_seed(7)
    with global_stream(0, "weights"):
        inside = torch.rand(2)
    assert torch.equal(torch.rand(2), expected)
    with global_stream(0, "weights"):
        assert torch.equal(torch.rand(2), inside)
