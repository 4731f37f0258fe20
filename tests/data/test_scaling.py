"""What looks wrong about the scale of samples is said once, and what does not is not."""

import re
from dataclasses import replace

import pytest
import torch
from conftest import DIM, MOMENTUM, TINY
from torch import Tensor

from ifl.client.settings import Optimizers, Training
from ifl.comm.codecs import Float32
from ifl.data.dataset import Dataset, Shard
from ifl.data.partition import Iid
from ifl.data.readers.embedded import breast_cancer, digits
from ifl.data.scaling import remarks
from ifl.federation.build import build
from ifl.federation.member import Member
from ifl.methods.local import Local
from ifl.models import mlp_base, mlp_modular


def own(x: Tensor, test: Tensor | None = None) -> Dataset:
    y = torch.arange(len(x)) % 2
    return Dataset("own", Shard(x, y), Shard(x if test is None else test, y), (*x.shape[1:],), 2)


GREYS = torch.randint(0, 256, (20, 1, 4, 4), generator=torch.Generator().manual_seed(0))
TABLE = torch.linspace(-2, 2, 60).reshape(20, 3)

WRONG = {
    "float images up to 255": (own(GREYS.float()), "own: floats run from .* to 25"),
    "float images up to 16": (own(GREYS.float() / 16), "floats run from .* to 15"),
    "divided twice": (own(GREYS / 255 / 255), "floats run from .* to 0.003"),
    "uint8 of 0 and 1": (own((GREYS > 9).to(torch.uint8)), "from 0 to 1, which are scaled to -1"),
    "uint8 of 0 to 16": (own((GREYS // 16).to(torch.uint8)), "from 0 to 15, which are scaled"),
    "features": (
        own(TABLE * torch.tensor([1, 1, 900.0])),
        r"differ in scale, from 1.* \(feature 1\) to 1",
    ),
    "a large table": (own(TABLE + 2000), "floats run from 2e"),
    "another test part": (
        own(GREYS / 255, GREYS.float()),
        "training samples reach .* test samples 25",
    ),
    "channels last": (own(GREYS.to(torch.uint8).reshape(20, 4, 4, 1)), "looks like channels last"),
    "classes that nothing is of": (
        replace(own(TABLE), classes=5),
        "no training sample is of class 2 or above, while there are to be 5 classes",
    ),
    "nothing": (own(torch.zeros(20, 3)), "are 0."),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_scale_that_looks_wrong_is_named(kind: str) -> None:
    data, sentence = WRONG[kind]
    (remark,) = remarks(data)
    assert re.search(sentence, remark)


def test_what_is_usual_is_passed_over() -> None:
    usual = [own(GREYS.to(torch.uint8)), own(GREYS / 255), own(TABLE), own(GREYS), TINY]
    for data in (*usual, digits(), breast_cancer()):
        assert remarks(data) == []


def test_a_remark_is_printed_once_before_training(capsys: pytest.CaptureFixture[str]) -> None:
    data = own(GREYS.float())
    member = Member("m", lambda: mlp_base(data.shape, [], DIM), lambda: mlp_modular(DIM, [], 2))
    training = Training(Optimizers(MOMENTUM, MOMENTUM), batch_size=4)
    build(data, Iid(), [member], 2, Local(), training, Float32(), DIM)
    said = capsys.readouterr().out
    assert said.count("own: floats run from") == 1
    assert said.count("\n") == 1


def test_breast_cancer_is_standardised_by_its_training_part() -> None:
    data = breast_cancer()
    assert len(data.train) + len(data.test) == 569
    assert data.train.x.mean(dim=0).abs().max() < 1e-5
    assert (data.train.x.std(dim=0, correction=0) - 1).abs().max() < 1e-4
    assert data.test.x.mean(dim=0).abs().max() > 1e-3
    counts = torch.cat([data.train.y, data.test.y]).bincount()
    assert counts.tolist() == [212, 357]
    assert (data.test.y.bincount() - 0.2 * counts).abs().max() <= 0.5
    assert torch.equal(breast_cancer().test.x, data.test.x)
