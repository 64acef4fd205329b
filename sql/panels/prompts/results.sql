-- What evaluators, users and guardrails said, by their results.
SELECT
    type, name AS evaluation,
    label AS result,
    count() AS results,
    results / sum(results) OVER (PARTITION BY type, name) AS share,
    avg(score) AS mean_score
FROM evaluations
WHERE $__timeFilter(ts) AND ${filters}
GROUP BY type, name, label
ORDER BY type, evaluation, results DESC, result
LIMIT 500;
