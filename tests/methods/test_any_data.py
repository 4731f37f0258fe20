"""Every method on samples that are no images: a table of features, sequences of tokens."""

import pytest
import torch
from conftest import DIM, EVERY, MOMENTUM, composed
from hydra.utils import instantiate
from torch import Tensor, nn

from ifl.cli.build import assemble
from ifl.client.settings import Optimizers, Training
from ifl.comm.codecs import Codec, Float32
from ifl.comm.quantise import Int4
from ifl.data.anchors import Nowhere, Source
from ifl.data.dataset import Dataset, Shard
from ifl.data.partition import Iid
from ifl.errors import ConfigError
from ifl.federation.build import Federation, build
from ifl.federation.member import Member
from ifl.methods.base import Method
from ifl.methods.centralized import Centralized, CentralizedServer
from ifl.methods.local import Local
from ifl.models import mlp_base, mlp_modular

VOCABULARY, LENGTH, CLASSES = 12, 5, 3
AVERAGING = ("fl", "feddf", "lg_fedavg", "fedgh", "cse_fsl")  # or sharing: of one architecture
ONE_ARCHITECTURE = {option: "mlp_homogeneous" for option in EVERY if option.split()[0] in AVERAGING}


def sequences(count: int, seed: int, dtype: torch.dtype = torch.int32) -> Shard:
    """Sequences of tokens; the label is the first one's remainder."""
    x = torch.randint(VOCABULARY, (count, LENGTH), generator=torch.Generator().manual_seed(seed))
    return Shard(x.to(dtype), x[:, 0] % CLASSES)


class Reader(nn.Module):
    """Embeds tokens (B, LENGTH) int64, and reads them in their order."""

    def __init__(self, width: int, vocabulary: int = VOCABULARY) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.recurrent = nn.GRU(width, DIM, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        outputs, _ = self.recurrent(self.embedding(tokens))
        return outputs[:, -1]  # type: ignore[no-any-return]


TOKENS = Dataset("sequences", sequences(96, 1), sequences(40, 2), (LENGTH,), CLASSES)


def reader(width: int, vocabulary: int = VOCABULARY) -> Member:
    return Member(
        f"reader {width}", lambda: Reader(width, vocabulary), lambda: mlp_modular(DIM, [], CLASSES)
    )


def read(
    method: Method,
    *members: Member,
    codec: Codec = Float32(),  # noqa: B008 (frozen)
    data: Dataset = TOKENS,
    anchors: Source = Nowhere(),  # noqa: B008 (frozen)
) -> Federation:
    training = Training(Optimizers(MOMENTUM, MOMENTUM), batch_size=8)
    return build(data, Iid(), members, 2, method, training, codec, DIM, anchors=anchors)


def rounds(federation: Federation) -> tuple[object, ...]:
    engine = federation.engine
    losses = [engine.round(number).train_loss for number in (1, 2)]
    assert all(loss is not None and 0 < loss < 10 for loss in losses)
    found = engine.evaluate(federation.data.test.inputs(), federation.data.test.y)
    return (*losses, found.accuracy, dict(engine.channel.ledger.totals))


@pytest.mark.parametrize("option", EVERY)
def test_every_method_runs_on_a_table(option: str) -> None:
    clients = ONE_ARCHITECTURE.get(option, "tabular")
    if "sync_" in option:  # of base blocks
        clients = "mlp_homogeneous"
    chosen = (
        *f"method={option}".split(),
        f"clients={clients}",
        "clients.count=2",
        "data=breast_cancer",
    )
    small = ("batch_size=8", "local.tau=2", "fusion.dim=16", "optimizer.lr=0.1")
    rounds(assemble(composed(*chosen, *small)))


# Tokens have no mean: tests/methods/parts/test_mixtures.py.
@pytest.mark.parametrize("option", [option for option in EVERY if "mixtures" not in option])
def test_every_method_runs_on_sequences_of_tokens(option: str) -> None:
    config = composed(*f"method={option}".split(), "local.tau=2")
    method, codec, anchors = (instantiate(config[g]) for g in ("method", "codec", "anchors"))
    alike = option in ONE_ARCHITECTURE or "sync_" in option
    members = [reader(4)] if alike else [reader(4), reader(6)]
    twice = [rounds(read(method, *members, codec=codec, anchors=anchors)) for _ in range(2)]
    assert twice[0] == twice[1]


def test_four_networks_learn_the_table() -> None:
    chosen = ("clients=tabular", "data=breast_cancer", "local.tau=2", "optimizer.lr=0.1")
    federation = assemble(composed(*chosen))
    assert [c.name for c in federation.engine.clients][3] == "client 3 (one layer)"
    for number in range(1, 9):
        federation.engine.round(number)
    test = federation.data.test
    assert federation.engine.evaluate(test.inputs(), test.y).mean > 0.75


def test_a_codec_leaves_tokens_exact_and_their_bytes_are_those_of_their_type() -> None:
    federation = read(Centralized(tau=1), reader(4), codec=Int4())
    federation.engine.round(1)
    server = federation.engine.server
    assert isinstance(server, CentralizedServer)
    assert server.learner is not None
    sent = torch.cat([client.shard.x for client in federation.engine.clients])
    assert torch.equal(server.learner.shard.x, sent)
    sizes = {kind: size for *_, kind, size in federation.engine.channel.ledger.close_round()}
    assert sizes["x"] == 48 * LENGTH * 4  # the last client's, int32


def test_what_the_server_has_of_floats_is_what_a_codec_left_of_them_also_when_resumed() -> None:
    x = torch.linspace(-1, 1, 96 * 3).reshape(96, 3)
    part = Shard(x, torch.arange(96) % CLASSES)
    data = Dataset("floats", part, part, (3,), CLASSES)
    member = Member("m", lambda: mlp_base((3,), [], DIM), lambda: mlp_modular(DIM, [], CLASSES))
    first, second = (read(Centralized(tau=1), member, codec=Int4(), data=data) for _ in range(2))
    first.engine.round(1)
    second.engine.load_state(first.engine.state())
    for federation in (first, second):
        server = federation.engine.server
        assert isinstance(server, CentralizedServer)
        assert server.learner is not None
        own = torch.cat([client.shard.x for client in federation.engine.clients])
        assert not torch.equal(server.learner.shard.x, own)
    assert first.engine.round(2) == second.engine.round(2)


def test_a_network_of_tokens_is_tried_on_the_largest_one() -> None:
    with pytest.raises(ConfigError, match=r"client 0 \(reader 4\): its base block does not take"):
        read(Local(), reader(4, VOCABULARY - 1))
    fully_connected = Member("m", lambda: mlp_base((LENGTH,), [], DIM), reader(4).modular)
    with pytest.raises(ConfigError, match="integers other than uint8 are tokens: begin with an em"):
        read(Local(), fully_connected)


def test_a_table_is_refused_by_what_needs_images() -> None:
    chosen = ("data=breast_cancer", "clients=tabular", "fusion.dim=16")
    for augment in ("affine", "elastic"):
        with pytest.raises(ConfigError, match=r"samples of the shape \[30\] that hold floats; use"):
            assemble(composed(*chosen, f"augment={augment}"))
