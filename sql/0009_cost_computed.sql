-- What the price comes to, beside the cost that counts (cost_usd), which may be one that the span reported. NULL where no
-- price is known. Of rows from before only those that were computed have it.
ALTER TABLE agent_events ADD COLUMN IF NOT EXISTS
    cost_computed_usd Nullable(Decimal(18, 10)) DEFAULT if(cost_source = 'computed', cost_usd, NULL)
    CODEC(T64, ZSTD(1)) AFTER cost_source;
