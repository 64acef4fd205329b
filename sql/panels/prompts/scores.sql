-- Evaluation scores by the prompts and models of the same trace; a score counts for each of them.
SELECT
    score_name AS score, called.1 AS prompt, called.2 AS version, called.3 AS model,
    count() AS scores, avg(value) AS mean_score, quantileExact(0.05)(value) AS worst_5_percent,
    if(count() > 1, 1.96 * stddevSamp(value) / sqrt(count()), NULL) AS plus_minus
FROM
(
    SELECT
        groupUniqArrayIf((toString(prompt_name), ${label:prompt_version}, toString(model)), kind != 'evaluation') AS calls,
        groupArrayIf((attrs['gen_ai.evaluation.name'], toFloat64OrNull(attrs['gen_ai.evaluation.score.value'])),
            kind = 'evaluation') AS values
    FROM agent_events
    WHERE $__timeFilter(ts) AND ${of_tenants}
        AND (kind = 'evaluation' OR prompt_name != '' AND kind IN ('llm', 'embedding', 'rerank') AND ${filters})
    GROUP BY cityHash64(trace_id)
    HAVING notEmpty(calls) AND notEmpty(values)
)
ARRAY JOIN calls AS called
ARRAY JOIN values.1 AS score_name, values.2 AS value
WHERE isNotNull(value)
GROUP BY score, prompt, version, model
ORDER BY score, prompt, version, model
LIMIT 500;
