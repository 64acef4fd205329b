-- Calls a minute; beyond the eight models with the most calls all are one.
WITH top AS
(
    SELECT model
    FROM ${rollup}
    WHERE kind IN ('llm', 'embedding', 'rerank')
    GROUP BY model
    ORDER BY sum(calls) DESC, model
    LIMIT 8
)
SELECT time, series AS model, 60 * sum(calls) / ${seconds} AS calls
FROM
(
    SELECT ${bucket} AS time, if(model IN (SELECT model FROM top), ${label:model}, 'other') AS series, calls
    FROM ${rollup_over_time}
    WHERE kind IN ('llm', 'embedding', 'rerank')
)
GROUP BY time, model
ORDER BY time, model;
