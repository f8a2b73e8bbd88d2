"""Genomes as rows: order, scale, names, idle knobs."""

from dataclasses import replace

import pytest

from paretolens.search.encoding import Encoding
from paretolens.spaces.knobs import Knob, Space, Stage

SPACE = Space(
    knobs=(
        Knob(name="width", stage=Stage.STUDENT, doc="", default=32, choices=(64, 16, 32), limits=(1, 100)),
        Knob(name="kind", stage=Stage.STUDENT, doc="", default="gru", choices=("gru", "tcn"), allowed=("gru", "tcn")),
        Knob(name="rate", stage=Stage.DISTILL, doc="", default=1.0, low=1.0, high=100.0, log=True),
        Knob(name="qat", stage=Stage.QUANTISE, doc="", default=False, choices=(False, True), allowed=(False, True)),
    )
)


def test_numbers_stand_by_their_rank_or_place_and_names_by_their_index() -> None:
    encoding = Encoding(SPACE)
    genomes = [{"width": w, "kind": k, "rate": r, "qat": q} for w, k, r, q in ((64, "gru", 1.0, True), (16, "tcn", 10.0, False))]
    assert encoding.rows(genomes).ravel() == pytest.approx([1.0, 0, 0, 1, 0.0, 1, 0.5, 0])
    assert encoding.nominal.tolist() == [False, True, False, True]
    assert encoding.rows([]).shape == (0, 4)


def test_an_idle_knob_stands_at_its_default() -> None:
    encoding = Encoding(replace(SPACE, idle=lambda genome: frozenset({"rate"}) if genome["qat"] else frozenset()))
    first, second = ({"width": 16, "kind": "gru", "rate": rate, "qat": True} for rate in (5.0, 50.0))
    assert encoding.rows([first]).tolist() == encoding.rows([second]).tolist()
