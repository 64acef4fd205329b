-- The values of a filter on the days (UTC) of the range, the most frequent ones where there are many.
SELECT if(${column} = '', ${none}, ${column}) AS value
FROM agent_metrics_1d_state
WHERE day >= toDate($__fromTime, 'UTC') AND day <= toDate($__toTime, 'UTC')
GROUP BY value
ORDER BY sum(calls) DESC, value
LIMIT 1000;
