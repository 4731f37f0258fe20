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


def test_rounding_at_random_follows_the_stream() -> None:
    held = [Coded(Int4(rounding="stochastic")).send(z_of(), stream(n)) for n in (0, 0, 1)]
    assert held[0].equal(held[1])
    assert not held[0].equal(held[2])


def test_noise_is_about_the_clipped_z() -> None:
    held = torch.stack([Noisy(ClippedNoise(1.0, 0.5)).send(z_of(), stream(n)) for n in range(400)])
    clipped = z_of() / z_of().norm(dim=1, keepdim=True)
    assert held.mean(dim=0).allclose(clipped, atol=0.15)
    assert held.std(dim=0).mean().item() == pytest.approx(0.5, rel=0.02)


def test_every_codec_there_is_and_all_noise_is_attacked() -> None:
    named = exposures(1.0, [0.1, 1.0])
    assert len(named) == len(options("codec")) + 3
    assert {"int4", "topk", "clip 1, noise 0.1", "class means"} < set(named)
