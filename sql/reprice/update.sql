-- New costs for a day. The same again changes nothing, and parts without a difference are not written.
ALTER TABLE {events} UPDATE cost_computed_usd = {price} IN PARTITION {partition:String} WHERE
    cost_source IN ('computed', 'unpriced', 'reported') AND tokens_prompt + tokens_completion > 0
    AND {number} > 0 AND ifNull(cost_computed_usd, -1) != ifNull({price}, -1),
UPDATE
    cost_usd = ifNull(cost_computed_usd, 0),
    cost_source = if(cost_computed_usd IS NULL, 'unpriced', 'computed')
IN PARTITION {partition:String} WHERE
    cost_source IN ('computed', 'unpriced') AND tokens_prompt + tokens_completion > 0 AND {number} > 0
    AND (cost_usd != ifNull(cost_computed_usd, 0)
        OR cost_source != if(cost_computed_usd IS NULL, 'unpriced', 'computed'));
