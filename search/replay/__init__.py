"""Replay of recorded searches on a virtual clock: samplers and schedulers compared over many seeds without training."""

from paretolens.search.replay.clock import Bounds, Ended, simulate
from paretolens.search.replay.compare import Contender, Score, compare
from paretolens.search.replay.record import record_study
from paretolens.search.replay.source import Source
from paretolens.search.replay.table import Row, Table, read_table, write_table

__all__ = [
    "Bounds", "Contender", "Ended", "Row", "Score", "Source", "Table", "compare", "read_table", "record_study", "simulate",
    "write_table",
]  # fmt: skip
