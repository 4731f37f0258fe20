"""Builds a federation: shards for clients, clients from members, an engine around them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ifl.checks import check_whole
from ifl.client.adversary import Adversary, Honest, check_adversary
from ifl.client.client import Client
from ifl.client.contract import check_apart, check_contract, check_takes, lazy
from ifl.client.habits import check_follows_seed, check_keeps_state
from ifl.client.privacy import Disclosure, Privacy
from ifl.client.privatise import check_hidden
from ifl.client.settings import Training
from ifl.comm.channel import Channel
from ifl.comm.codecs import Codec
from ifl.comm.contract import check_codec
from ifl.data.anchors import Nowhere, Source, check_source
from ifl.data.dataset import Dataset, Shard, check_dataset
from ifl.data.dealing import deal
from ifl.data.owners import By
from ifl.data.partition import Partition
from ifl.data.scaling import remarks
from ifl.engines.base import Transport
from ifl.engines.residence import Residence
from ifl.errors import ConfigError
from ifl.federation.engine import Engine
from ifl.federation.evaluation import Evaluation
from ifl.federation.member import Member
from ifl.federation.participation import Participation
from ifl.federation.workers import Workers
from ifl.methods.base import Method
from ifl.models import SplitModel
from ifl.seeding import global_stream, numpy_rng


@dataclass(frozen=True)
class Federation:
    """Everything that a run trains and tests.

    Args:
        parts: places (n_k,) int64 in the training set of the samples of each client k.
    """

    data: Dataset
    engine: Engine
    disclosure: Disclosure  # of every client
    parts: Sequence[np.ndarray]

    def owners(self) -> list[list[str]] | None:
        """Return whose samples each client holds; None if the data set does not say."""
        if self.data.owners is None:
            return None
        return [[str(o) for o in np.unique(self.data.owners[part])] for part in self.parts]

    def class_table(self) -> np.ndarray:
        """Return how many samples of each class each client holds: (clients, classes) int64."""
        labels = self.data.train.y.numpy()
        counts = [np.bincount(labels[part], minlength=self.data.classes) for part in self.parts]
        return np.stack(counts)


def build(
    data: Dataset,
    partition: Partition,
    members: Sequence[Member],
    count: int | None,
    method: Method,
    training: Training,
    codec: Codec,
    fusion_dim: int,
    workers: Workers | None = None,
    participation: Participation = Participation(),  # noqa: B008 (frozen)
    on_bad_upload: str = "stop",
    privacy: Privacy = Privacy(),  # noqa: B008 (frozen)
    evaluation: Evaluation = Evaluation(),  # noqa: B008 (frozen)
    anchors: Source = Nowhere(),  # noqa: B008 (frozen)
    transport: Transport | None = None,
    adversary: Adversary = Honest(),  # noqa: B008 (frozen)
    resident: int | None = None,
) -> Federation:
    """Deal the training set to ``count`` clients that cycle through the members.

    With ``partition=by`` no count is a client for each owner. Remarks on the data and its scale
    are printed.

    Parties are where ``transport`` has them, in this process if it is None. Clients that
    ``adversary`` names lie. With ``resident`` clients are made when they are drawn, and at most so
    many are in memory between rounds (``ifl.engines.residence``): only the first client with each
    member's network is tried here.

    The partition and client k's initial weights follow from the seed alone, so that every
    method of one seed has the same.

    Raises:
        ConfigError: a block or the codec breaks its contract, the partition does not deal as it
            has to, a shard is smaller than a batch, or the method does not suit these clients,
            or hides nothing of what is to be hidden; or there are no such clients that could lie.
        DataError: data is no data set.
    """
    home = None if resident is None else Residence(resident)
    if home and transport and not transport.live:
        raise ConfigError(
            f"runtime.resident={resident} lets go of clients in this process, where they are by "
            "engine=local alone; choose that, or runtime.resident=null"
        )
    for remark in (*check_dataset(data).remarks, *remarks(data)):
        print(remark)
    if isinstance(partition, By):
        data = data if data.owners is not None else partition.owned(data)
        count = partition.clients(data) if count is None else count
    public, data = check_source(anchors)(data, numpy_rng(training.seed, "anchors"))
    shown = None if public is None else Shard(public, torch.zeros(len(public))).inputs()
    check_whole("clients.count", count, 1)
    assert count is not None
    check_adversary(adversary, method, count)
    check_whole("fusion.dim", fusion_dim, 1)
    check_whole("the number of clients.members", len(members), 1)
    disclosure = privacy.disclosure(data.classes)
    check_hidden(method, disclosure)
    seed = training.seed
    labels = data.train.y.numpy()
    with global_stream(seed, "partition"):
        parts = deal(partition, labels, count, numpy_rng(seed, "partition"), data.owners)
    order = np.concatenate(parts)
    dealt = Shard(data.train.x[order], data.train.y[order])  # shards are views of it
    ends = np.cumsum([len(part) for part in parts])
    clients: list[Client] = []
    apart: list[tuple[str, SplitModel]] = []
    settings = [member.training(training) for member in members]
    extreme = data.extremes()
    for number, (end, part) in enumerate(zip(ends, parts, strict=True)):
        member, own = members[number % len(members)], settings[number % len(members)]
        name = f"client {number} ({member.name})"
        shard = Shard(dealt.x[end - len(part) : end], dealt.y[end - len(part) : end])

        def made(
            member: Member = member, number: int = number, name: str = name, shard: Shard = shard
        ) -> SplitModel:
            with global_stream(seed, "client", number, "weights"):
                try:
                    model = SplitModel(member.base(), member.modular())
                except ConfigError as error:
                    raise ConfigError(f"{name}: {error}") from error
                if home is None or number < len(members) or lazy(model):
                    some = (shard if len(shard) else data.train).first(2).inputs()
                    check_contract(model, name, some, fusion_dim, data.classes)
            return model

        first = number < len(members)
        like = None if first else clients[number % len(members)]
        network: SplitModel | Callable[[], SplitModel] = made
        if first or home is None:
            network = model = made()
            apart.append((name, model))
        if first:
            tried = data.train.first(own.batch_size).inputs()
            check_contract(model, name, tried, fusion_dim, data.classes, own.batch_size)
            if extreme is not None:
                check_takes(model, name, extreme, fusion_dim, data.classes)
            again, some = made(), (shard if len(shard) else data.train).first(2).inputs()
            check_follows_seed(model, again, name, some)
            check_keeps_state(model, again, name, some)
            if home:
                apart.append((f"{name}, made again,", again))
        network = made if home else network
        clients.append(Client(name, number, network, shard, own, disclosure, shown, like, home))
    check_apart(apart)
    batches = sum(client.training.batch_size for client in clients)
    agreed = {"B": training.batch_size, "d": fusion_dim, "N": count, "batches": batches}
    drawing = check_codec(codec, data.classes)
    sizes = {
        client.number: {"B": client.training.batch_size}
        for client in clients
        if client.training.batch_size != training.batch_size
    }
    channel = Channel(codec, data.classes, training.device, agreed, seed, drawing, sizes)
    engine = Engine(
        method,
        clients,
        channel,
        training,
        workers,
        participation,
        on_bad_upload,
        evaluation,
        transport,
        adversary,
        home,
    )
    return Federation(data, engine, disclosure, parts)
