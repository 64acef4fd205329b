-- The values of a filter, the most frequent ones where there are many.
SELECT if(${column} = '', ${none}, ${column}) AS value
FROM agent_metrics_1h_state
WHERE hour >= toStartOfHour($__fromTime) AND hour <= $__toTime
GROUP BY value
ORDER BY sum(calls) DESC, value
LIMIT 1000;
