-- What new prices change in a day, by model. A cost that was reported stays; beside it stands what the price comes to.
SELECT
    provider,
    model,
    count() AS calls,
    countIf(cost_source = 'reported') AS reported,
    sum(cost_usd) AS before,
    sum(if(cost_source = 'reported', cost_usd, ifNull(price, 0))) AS after,
    countIf(cost_source = 'unpriced') AS unpriced_before,
    countIf(cost_source != 'reported' AND price IS NULL) AS unpriced_after
FROM
(
    SELECT
        toString(provider) AS provider, toString(model) AS model, toString(cost_source) AS cost_source, cost_usd,
        cost_computed_usd, {price} AS price
    FROM agent_events
    WHERE toDate(ts) = toDate({day:UInt16})
        AND cost_source IN ('computed', 'unpriced', 'reported') AND tokens_prompt + tokens_completion > 0
        AND {number} > 0
)
WHERE ifNull(cost_computed_usd, -1) != ifNull(price, -1)
    OR (cost_source != 'reported' AND cost_usd != ifNull(price, 0))
    OR cost_source = if(price IS NULL, 'computed', 'unpriced')
GROUP BY provider, model;
