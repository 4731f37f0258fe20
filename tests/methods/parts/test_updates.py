"""Updates in place of weights, and what is fed back of what a codec lost."""

import pytest
import torch
from closed_forms import header, packed, totals
from conftest import PLAIN, SMALL, WIDE, Build, clients, equal, parameters, play
from torch import Tensor

from ifl.comm.codecs import Codec
from ifl.comm.quantise import Int4, Int8
from ifl.errors import ConfigError
from ifl.federation.build import Federation
from ifl.methods.base import Method
from ifl.methods.fl import FL, FLServer
from ifl.methods.lg_fedavg import LGFedAvg
from ifl.methods.parts.averaging import state
from ifl.methods.parts.updates import Lost, Sending, UpdateAveraging


def with_codec(federation: Federation, codec: Codec) -> Federation:
    federation.engine.channel.codec = codec
    return federation


def fed_back(tau: int = 3) -> FL:
    return FL(tau=tau, send="updates", error_feedback=True)


@pytest.mark.parametrize("kind", [FL, LGFedAvg])
@pytest.mark.parametrize("feedback", [False, True])
def test_in_float32_updates_are_weights_up_to_rounding(
    kind: type[FL] | type[LGFedAvg], feedback: bool, tiny: Build
) -> None:
    weights = tiny(kind(tau=3), WIDE, count=3)
    updates = tiny(kind(tau=3, send="updates", error_feedback=feedback), WIDE, count=3)
    moved = parameters(clients(weights)[0].model)
    for federation in (weights, updates):
        play(federation, 5)
    for one, other in zip(clients(weights), clients(updates), strict=True):
        pairs = zip(parameters(one.model), parameters(other.model), strict=True)
        assert all(torch.allclose(p, q, atol=1e-5) for p, q in pairs)
    now = parameters(clients(weights)[0].model)
    assert max(float((p - q).abs().max()) for p, q in zip(now, moved, strict=True)) > 0.01


@pytest.mark.parametrize("method", [FL(send="updates"), fed_back(), LGFedAvg(send="updates")])
def test_they_cost_what_weights_cost(method: Method, tiny: Build) -> None:
    n, federation = 3, tiny(method, WIDE, count=3)
    model = clients(federation)[0].model
    sent = model if isinstance(method, FL) else model.modular
    size = 4 * sum(p.numel() for p in sent.parameters())
    up = n * (size + 8 + header(samples=("I64", [], 8), **packed(sent)))
    assert totals(federation, 2) == [(up, n * (size + header(**packed(sent))))] * 2


def written_out(federation: Federation, codec: Codec, rounds: int) -> list[Tensor]:
    """EF-SGD at both ends in plain loops; return the average as all decode it."""

    def passed(tensors: list[Tensor]) -> list[Tensor]:
        return [codec.decode(codec.encode(t)) for t in tensors]

    twins = clients(federation)
    exact = common = parameters(twins[0].model)
    errors = [[torch.zeros_like(p) for p in common] for _ in twins]
    for _ in range(rounds):
        came = []
        for k, me in enumerate(twins):
            with torch.no_grad():
                for p, start in zip(me.model.parameters(), common, strict=True):
                    p.copy_(start)
            for x, y in me.batches(3):
                me.step(x, y)
            now = zip(parameters(me.model), common, errors[k], strict=True)
            update = [p - start + e for p, start, e in now]
            came.append(passed(update))
            errors[k] = [u - there for u, there in zip(update, came[k], strict=True)]
        means = [torch.stack(them).mean(dim=0) for them in zip(*came, strict=True)]
        exact = [w + u for w, u in zip(exact, means, strict=True)]
        common = passed(exact)
    return common


@pytest.mark.parametrize("codec", [Int8(), Int4()], ids=["int8", "int4"])
def test_feedback_is_what_the_codec_lost_written_out(codec: Codec, tiny: Build) -> None:
    federation = with_codec(tiny(fed_back(), WIDE, optimizer=PLAIN), codec)
    expected = written_out(tiny(FL(), WIDE, optimizer=PLAIN), codec, 3)
    play(federation, 3)
    server = federation.engine.server
    assert isinstance(server, FLServer)
    for ours, theirs in zip(parameters(server.model), expected, strict=True):
        step = float(theirs.abs().max()) / 7  # rounding may put a value on the next level, rarely
        off = (ours - theirs).abs()
        assert float((off > 1e-5).float().mean()) < 0.02
        assert float(off.max()) <= step * 1.01
    lost = clients(federation)[0].memory.of(Lost).lost
    assert lost is not None
    assert max(float(e.abs().max()) for e in lost) > 0


def test_with_feedback_nothing_is_lost_for_good(tiny: Build) -> None:
    def away(method: FL, codec: Codec) -> float:
        federations = [tiny(kind, WIDE, optimizer=PLAIN) for kind in (FL(tau=1), method)]
        with_codec(federations[1], codec)
        for federation in federations:
            play(federation, 40)
        exact, server = (federation.engine.server for federation in federations)
        assert isinstance(exact, FLServer)
        assert isinstance(server, FLServer)
        return sum(
            float((p - q).norm())
            for p, q in zip(state(exact.model), state(server.model), strict=True)
        )

    off = away(FL(tau=1, send="updates"), Int8())
    assert away(fed_back(tau=1), Int8()) < 0.5 * off


def test_who_was_refused_keeps_the_error_that_it_had(tiny: Build) -> None:
    method = fed_back()
    federation = with_codec(tiny(method, WIDE), Int4())
    play(federation, 1)
    me = clients(federation)[0]
    before = [e.clone() for e in me.memory.of(Lost).lost or []]
    talk = method.client_round(me, 2)
    next(talk)
    talk.close()
    assert before
    assert equal(before, me.memory.of(Lost).lost or [])


def test_the_server_goes_on_from_what_it_had_before_the_codec(tiny: Build) -> None:
    federation = with_codec(tiny(fed_back(), SMALL), Int4())
    play(federation, 2)
    server = federation.engine.server
    assert isinstance(server, FLServer)
    assert isinstance(server.average, UpdateAveraging)
    assert server.average.exact is not None
    sent = [Int4().decode(Int4().encode(t)) for t in server.average.exact]
    assert equal(sent, state(server.model))
    plain = tiny(FL(send="updates"), SMALL).engine.server
    assert isinstance(plain, FLServer)
    assert plain.state()["exact"] is None


def test_wrong_settings_are_sentences() -> None:
    with pytest.raises(ConfigError, match="method.send must be one of weights, updates, got both"):
        Sending("both")
    with pytest.raises(ConfigError, match="method.error_feedback must be true or false, got 1"):
        FL(send="updates", error_feedback=1)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="got method.send=weights; use method.send=updates"):
        LGFedAvg(error_feedback=True)
