-- Of the eight models with the most input.
WITH top AS
(
    SELECT model
    FROM ${rollup}
    GROUP BY model
    HAVING sum(tokens_prompt) > 0
    ORDER BY sum(tokens_prompt) DESC, model
    LIMIT 8
)
SELECT time, series AS model, sum(tokens_cache_read) / nullIf(sum(tokens_prompt), 0) AS cached
FROM
(
    SELECT ${bucket} AS time, ${label:model} AS series, tokens_cache_read, tokens_prompt
    FROM ${rollup_over_time}
    WHERE model IN (SELECT model FROM top)
)
GROUP BY time, model
HAVING sum(tokens_prompt) > 0
ORDER BY time, model;
