SELECT
    $__timeInterval(ts) AS time, if(attrs['gen_ai.evaluation.name'] = '', '(none)', attrs['gen_ai.evaluation.name']) AS name,
    avg(toFloat64OrNull(attrs['gen_ai.evaluation.score.value'])) AS mean_score
FROM agent_events
WHERE $__timeFilter(ts) AND ${filters} AND kind = 'evaluation'
GROUP BY time, name
HAVING isNotNull(mean_score)
ORDER BY time, name;
