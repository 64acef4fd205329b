"""One form of a model's name: as its provider calls it, without what routers and SDKs put before it.

`openai/gpt-4o` and `gpt-4o` are one model; `meta-llama/Llama-3.3-70B` is the whole name of another. So a
prefix goes only where it names the span's own provider, or where no provider is named, and then it
says which it is. Dates, versions and Bedrock's regions stay, for they have prices of their own.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import polars as pl
import yaml

_PREFIXES: Final[dict[str, str]] = yaml.safe_load(
    (Path(__file__).parent / "mappings" / "models.yaml").read_text("utf-8")
)["prefixes"]
# Of `bedrock/converse/` and `bedrock/` the longer one.
_PATTERN: Final = "^(" + "|".join(re.escape(p) for p in sorted(_PREFIXES, key=len, reverse=True)) + ")."


def one_form(batch: pl.DataFrame) -> pl.DataFrame:
    """Sets `model`, and `provider` where it is empty, of a batch that has both."""
    if not batch["model"].str.contains("/", literal=True).any():
        return batch
    found = batch.select("model", "provider", prefix=pl.col("model").str.extract(_PATTERN)).with_columns(
        owner=pl.col("prefix").replace_strict(_PREFIXES, default=None, return_dtype=pl.String)
    )
    goes = (pl.col("owner") == "") | (pl.col("provider") == "") | (pl.col("owner") == pl.col("provider"))
    goes = goes & pl.col("prefix").is_not_null()
    rest = pl.col("model").str.slice(pl.col("prefix").str.len_chars())
    changed = found.select(
        model=pl.when(goes).then(rest).otherwise("model"),
        provider=pl.when(goes & (pl.col("provider") == "")).then("owner").otherwise("provider"),
    )
    return batch.with_columns(changed.get_columns())
