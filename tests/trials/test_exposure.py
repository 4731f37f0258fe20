import pytest
import torch
from conftest import options
from torch import Tensor

from ifl.client.privacy import ClippedNoise
from ifl.comm.message import Message, decode, encode
from ifl.comm.quantise import Int4
from ifl.comm.wire import parse
from ifl.trials.attack.campaign import exposures
from ifl.trials.attack.exposure import Coded, Noisy


def z_of(seed: int = 0) -> Tensor:
    return torch.randn(6, 40, generator=torch.Generator().manual_seed(seed)).relu()


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_what_is_held_is_what_a_message_delivers() -> None:
    codec = Int4()
    delivered = decode(parse(encode(Message(z=z_of()), codec, 10)), codec)["z"]
    assert Coded(codec).send(z_of(), stream()).equal(delivered)
    assert Coded(codec).expect(z_of()).allclose(delivered, atol=1e-6)


def test_rounding_at_random_follows_the_stream() -> None:
    held = [Coded(Int4(rounding="stochastic")).send(z_of(), stream(n)) for n in (0, 0, 1)]
    assert held[0].equal(held[1])
    assert not held[0].equal(held[2])


def test_gradients_pass_a_codec_as_if_it_were_not_there() -> None:
    z = z_of().requires_grad_()
    Coded(Int4()).expect(z).sum().backward()
    assert z.grad is not None
    assert z.grad.equal(torch.ones(6, 40))


def test_of_noise_its_mean_is_expected() -> None:
    noisy = Noisy(ClippedNoise(1.0, 0.5))
    held = torch.stack([noisy.send(z_of(), stream(n)) for n in range(400)])
    assert noisy.expect(z_of()).norm(dim=1).allclose(torch.ones(6))
    assert held.mean(dim=0).allclose(noisy.expect(z_of()), atol=0.15)
    assert held.std(dim=0).mean().item() == pytest.approx(0.5, rel=0.02)


def test_every_codec_there_is_and_all_noise_is_attacked() -> None:
    named = exposures(1.0, [0.1, 1.0])
    assert len(named) == len(options("codec")) + 3
    assert {"int4", "topk", "clip 1, noise 0.1", "class means"} < set(named)
