-- Evaluation scores in the range against the range of the same length before it.
SELECT
    name AS score,
    countIf(now_) AS scores, countIf(NOT now_) AS scores_before,
    avgOrNullIf(value, now_) AS mean_score, avgOrNullIf(value, NOT now_) AS mean_before,
    mean_score - mean_before AS difference,
    if(least(scores, scores_before) > 1 AND isFinite(welchTTest(0.95)(value, NOT now_).2),
        welchTTest(0.95)(value, NOT now_).2, NULL) AS p_value
FROM
(
    SELECT
        ts >= $__fromTime AS now_, if(attrs['gen_ai.evaluation.name'] = '', '(none)', attrs['gen_ai.evaluation.name']) AS name,
        toFloat64OrNull(attrs['gen_ai.evaluation.score.value']) AS number
    FROM agent_events
    WHERE ts >= $__fromTime - ($__toTime - $__fromTime) AND ts <= $__toTime AND ${filters} AND kind = 'evaluation'
)
ARRAY JOIN if(isNull(number), [], [assumeNotNull(number)]) AS value
GROUP BY name
ORDER BY score
LIMIT 100;
