"""Token counts that mean the same for every library, and usage that counts once."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from spanhouse.batch import TOKENS
from spanhouse.hash_set import HashSet

# Kinds whose spans are calls to a model; usage on any other kind is a sum over such calls.
MODEL_KINDS: Final = ("llm", "embedding", "rerank")

_PROMPT, _COMPLETION = pl.col("tokens_prompt"), pl.col("tokens_completion")
_CACHED, _REASONING = pl.col("tokens_cache_read") + pl.col("tokens_cache_write"), pl.col("tokens_reasoning")
# Parts that exceed their total cannot be parts of it: the total was reported without them.
PARTS_IN_TOTALS: Final = (
    pl.when(_CACHED > _PROMPT).then(_PROMPT + _CACHED).otherwise(_PROMPT).alias("tokens_prompt"),
    pl.when(_REASONING > _COMPLETION)
    .then(_COMPLETION + _REASONING)
    .otherwise(_COMPLETION)
    .alias("tokens_completion"),
)


def by_total(beside: pl.Expr) -> list[pl.Expr]:
    """Completes counts where the sum that a span tells is larger by just the parts that it tells.

    Args:
        beside: where the output is known to exclude reasoning; there the sum also tells how much that is.
    """
    rest = pl.col("tokens_total").cast(pl.Int64) - _PROMPT.cast(pl.Int64) - _COMPLETION.cast(pl.Int64)
    cached = (_CACHED > 0) & ((rest == _CACHED) | (rest == _CACHED + _REASONING))
    reasoned = (_REASONING > 0) & ((rest == _REASONING) | (rest == _CACHED + _REASONING))
    told = beside & (_REASONING == 0) & (rest > 0) & ~cached
    more = rest.clip(0).cast(pl.UInt64)
    return [
        pl.when(cached).then(_PROMPT + _CACHED).otherwise(_PROMPT).alias("tokens_prompt"),
        pl.when(reasoned).then(_COMPLETION + _REASONING).when(told).then(_COMPLETION + more)
        .otherwise(_COMPLETION).alias("tokens_completion"),
        pl.when(told).then(more).otherwise(_REASONING).alias("tokens_reasoning"),
    ]  # fmt: skip


class CountOnce:
    """Sets usage to 0 that a model call with usage of the same trace has told, in the batch or lately.

    A model call repeats what its direct child has told, any other span what a call of its trace has.
    """

    def __init__(self) -> None:
        self._recent = _Recent()

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Count once what a batch with NORMALIZED columns and `reported_cost_usd` tells."""
        spans = batch.select(
            pl.col("trace_id", "span_id", "parent_span_id").hash(),
            model=pl.col("kind").is_in(MODEL_KINDS),
            stored=pl.col("reject").is_null(),
            used=(_PROMPT + _COMPLETION > 0) | (pl.col("reported_cost_usd") > 0).fill_null(False),
        )
        rows = spans["used"].to_numpy().nonzero()[0]
        trace, span, parent, model, stored = (s.to_numpy()[rows] for s in spans.drop("used"))
        span, parent, calls = _pair(trace, span), _pair(trace, parent), model & stored
        # A model call speaks for its trace and for its parent; others ask after their trace, and a
        # model call after itself.
        spoken_for = np.concatenate([trace[calls], parent[calls]])
        asks = np.where(model, span, trace)
        among = HashSet(len(spoken_for))
        among.add(spoken_for)
        repeats = among.has(asks, self._recent.has(asks))
        self._recent.add(spoken_for)
        if not repeats.any():
            return batch
        counts = np.ones(batch.height, np.bool_)
        counts[rows[repeats]] = False
        where = pl.lit(pl.Series(counts))
        return batch.with_columns(
            *(pl.when(where).then(name).otherwise(pl.lit(0, pl.UInt64)).alias(name) for name in TOKENS),
            pl.when(where).then("reported_cost_usd").alias("reported_cost_usd"),
        )


class _Recent:
    """Remembers about the last hundred thousand hashes in constant memory and time.

    A hash has one place in each of two tables and is forgotten when later ones have taken both: of
    the last 20,000 one in 2,500, of the last 200,000 one in 30.
    """

    _BITS: Final = 20

    def __init__(self) -> None:
        self._tables = np.zeros((2, 1 << self._BITS), np.uint64)

    def _places(self, hashes: npt.NDArray[np.uint64]) -> list[npt.NDArray[np.int64]]:
        shifts = (np.uint64(64 - self._BITS), np.uint64(64 - 2 * self._BITS))
        mask = np.uint64((1 << self._BITS) - 1)
        return [((hashes >> shift) & mask).astype(np.int64) for shift in shifts]

    def add(self, hashes: npt.NDArray[np.uint64]) -> None:
        for table, places in zip(self._tables, self._places(hashes), strict=True):
            table[places] = hashes

    def has(self, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
        first, second = (t[p] == hashes for t, p in zip(self._tables, self._places(hashes), strict=True))
        found: npt.NDArray[np.bool_] = first | second
        return found


def _pair(trace: npt.NDArray[np.uint64], span: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    mixed: npt.NDArray[np.uint64] = (trace ^ (span >> np.uint64(1))) * np.uint64(0x9E3779B97F4A7C15)
    return mixed
