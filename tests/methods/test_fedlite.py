"""FedLite: split learning where nothing is lost, its bytes, its correction, what it refuses."""

from typing import Any

import pytest
import torch
from closed_forms import header, packed, totals
from conftest import DIM, PLAIN, SMALL, WIDE, Build, clients, parameters, play
from torch.nn.functional import cross_entropy

from ifl.comm.message import Message
from ifl.errors import ConfigError, MessageError
from ifl.methods.fedlite import FedLite, FedLiteServer
from ifl.methods.fsl import FSL, FSLServer
from ifl.methods.parts.vector_quantise import ProductQuantiser
from ifl.seeding import rng

B = 8  # the batch size of the tiny federation


def test_with_as_many_codes_as_rows_it_is_split_learning(tiny: Build) -> None:
    lossless = FedLite(tau=4, width=DIM, codes=B)
    ours, split = tiny(lossless, SMALL, WIDE), tiny(FSL(tau=4), SMALL, WIDE)
    play(ours, 3)
    play(split, 3)
    mine, theirs = ours.engine.server, split.engine.server
    assert isinstance(mine, FedLiteServer)
    assert isinstance(theirs, FSLServer)
    pairs = [(mine.modulars[0], theirs.modulars[0])]
    pairs += [
        (a.model.base, b.model.base) for a, b in zip(clients(ours), clients(split), strict=True)
    ]
    for a, b in pairs:
        for p, q in zip(parameters(a), parameters(b), strict=True):
            assert torch.allclose(p, q, atol=1e-6)


@pytest.mark.parametrize("groups", [1, 2])
def test_codes_name_the_nearest_entry_of_their_groups_codebook(groups: int) -> None:
    quantiser = ProductQuantiser(2, groups, 4, 5)
    z = torch.randn(6, 8, generator=rng(0))
    books, codes = quantiser.quantise(z, rng(0))
    assert books.shape == (groups * 4, 2)
    coarse = quantiser.assemble(books, quantiser.unpack(quantiser.pack(codes), 24), 6)
    for row, near in zip(z, coarse, strict=True):
        for place in range(4):
            piece, group = row[2 * place : 2 * place + 2], place * groups // 4
            entries = books[4 * group : 4 * group + 4]
            best = entries[(entries - piece).norm(dim=1).argmin()]
            assert torch.equal(near[2 * place : 2 * place + 2], best)


def test_iterations_and_codes_lose_less() -> None:
    z = torch.randn(32, 16, generator=rng(0))

    def lost(codes: int, iterations: int) -> float:
        quantiser = ProductQuantiser(4, 1, codes, iterations)
        return float((z - quantiser.assemble(*quantiser.quantise(z, rng(0)), 32)).norm())

    assert lost(8, 10) < lost(8, 1)
    losses = [lost(codes, 10) for codes in (2, 8, 32, 128)]
    assert losses == sorted(losses, reverse=True)
    assert lost(128, 1) < 1e-5  # as many as there are pieces


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_packed_codes_come_back(bits: int) -> None:
    quantiser = ProductQuantiser(1, 1, 2**bits, 1)
    codes = torch.randint(2**bits, (13,), generator=rng(0))
    packed_codes = quantiser.pack(codes)
    assert len(packed_codes) == -(-13 * bits // 8)
    assert torch.equal(quantiser.unpack(packed_codes, 13), codes)


def test_a_step_follows_the_gradient_corrected_by_what_arrived(tiny: Build) -> None:
    method = FedLite(tau=1, width=4, codes=4, lam=0.7)
    me, twin = (clients(tiny(method, WIDE, optimizer=PLAIN))[0] for _ in range(2))
    talk = method.client_round(me, 1)
    upload = next(talk)
    codes = method.quantiser.unpack(upload["codes"], 2 * B)
    came = upload["codebook"].round(decimals=1)  # by a lossy codec
    upload.arrived = Message(codebook=came, codes=upload["codes"], y=upload["y"])
    coarse = method.quantiser.assemble(came, codes, B)
    z = coarse.clone().requires_grad_()
    (grad,) = torch.autograd.grad(cross_entropy(twin.model.modular(z), upload["y"]), z)
    with pytest.raises(StopIteration):
        talk.send(Message(grad=grad))
    z = twin.model.base(twin.batch().x)
    loss = (z * grad).sum() + 0.7 / 2 * (z - coarse).square().sum(dim=1).mean()
    weights = list(twin.model.base.parameters())
    with torch.no_grad():
        for weight, its in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            weight.sub_(0.05 * its)
    for p, q in zip(parameters(me.model.base), parameters(twin.model.base), strict=True):
        assert torch.allclose(p, q, atol=1e-6)


def test_the_correction_pulls_z_to_what_travels(tiny: Build) -> None:
    def lost(lam: float) -> float:
        method = FedLite(tau=20, width=4, codes=4, lam=lam)
        federation = tiny(method, SMALL, optimizer=PLAIN)
        play(federation, 3)
        x, _ = clients(federation)[0].batch()
        z = clients(federation)[0].model.base(x).detach()
        coarse = method.quantiser.assemble(*method.quantiser.quantise(z, rng(0)), B)
        return float((z - coarse).norm() / z.norm())

    assert lost(1.0) < lost(0.0)


@pytest.mark.parametrize("sync_base", [False, True])
def test_bytes_are_the_closed_form(sync_base: bool, tiny: Build) -> None:
    n, tau = 3, 4
    method = FedLite(tau=tau, width=2, groups=2, codes=8, sync_base=sync_base)
    federation = tiny(method, WIDE, count=n)
    base = clients(federation)[0].model.base
    size = 4 * sum(p.numel() for p in base.parameters())
    codes, y = B * 4 * 3 // 8, ("U8", [B], 1)
    shapes = {"codebook": ("F32", [16, 2], 4), "codes": ("U8", [codes], 1), "y": y}
    up = n * tau * (2 * 8 * 2 * 4 + codes + B + header(**shapes))
    down = n * tau * (B * 4 * DIM + header(grad=("F32", [B, DIM], 4)))
    if sync_base:
        up += n * (size + 8 + header(samples=("I64", [], 8), **packed(base)))
        down += n * (size + header(**packed(base)))
    assert totals(federation, 2) == [(up, down)] * 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"codebook": torch.zeros(8, 4)}, r"codebook has the shape \(8, 4\), expected \(8, 8\)"),
        ({"codebook": torch.full((8, 8), float("nan"))}, "codebook is not finite"),
        ({"codes": torch.zeros(4, dtype=torch.uint8)}, r"codes has the shape \(4,\), expected"),
        ({"codes": torch.zeros(3, dtype=torch.int32)}, "codes is of torch.int32, expected"),
        ({"y": torch.full((B,), 4)}, "y holds 4 to 4, allowed are 0 to 3"),
    ],
)
def test_wrong_codes_are_refused(change: dict[str, torch.Tensor], reason: str, tiny: Build) -> None:
    engine = tiny(FedLite()).engine
    upload = {"codebook": torch.zeros(8, 8), "codes": torch.zeros(3, dtype=torch.uint8)}
    upload["y"] = torch.zeros(B, dtype=torch.int64)
    forms = {0: engine.server.expects(0)[0]}
    assert engine.channel.up({0: Message(**upload)}, forms)[1] == {}
    _, refused = engine.channel.up({0: Message(**{**upload, **change})}, forms)
    with pytest.raises(MessageError, match=reason):
        raise refused[0]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"tau": 0}, "local.tau must be a whole number >= 1, got 0"),
        ({"width": 0}, "method.width must be a whole number >= 1, got 0"),
        ({"width": 3}, r"width \* method.groups must divide fusion.dim=8, got 3 \* 1; z is cut"),
        ({"width": 4, "groups": 4}, r"must divide fusion.dim=8, got 4 \* 4; z is cut"),
        ({"codes": 6}, "method.codes must be a power of 2 from 2 to 256, .* got 6"),
        ({"codes": 16}, "method.codes=16 must be at most the 8 pieces of a group in a batch; lo"),
        ({"iterations": 0}, "method.iterations must be a whole number >= 1, got 0"),
        ({"lam": -1}, "method.lam must be a number >= 0, got -1"),
        ({"sync_base": 1}, "method.sync_base must be true or false, got 1"),
        ({"sync_base": True}, "method=fedlite with method.sync_base=true averages parameters"),
    ],
)
def test_wrong_settings_are_sentences(wrong: dict[str, Any], sentence: str, tiny: Build) -> None:
    with pytest.raises(ConfigError, match=sentence):
        tiny(FedLite(**wrong), SMALL, WIDE)
