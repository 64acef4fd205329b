-- US dollars a minute; beyond the eight most expensive all are one.
WITH top AS
(
    SELECT model
    FROM ${rollup}
    GROUP BY model
    HAVING sum(cost_usd) > 0
    ORDER BY sum(cost_usd) DESC, model
    LIMIT 8
)
SELECT time, series AS model, 60 * toFloat64(sum(cost_usd)) / ${seconds} AS cost
FROM
(
    SELECT ${bucket} AS time, if(model IN (SELECT model FROM top), ${label:model}, 'other') AS series, cost_usd
    FROM ${rollup_over_time}
    WHERE cost_usd > 0
)
GROUP BY time, model
ORDER BY time, model;
