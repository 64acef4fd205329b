SELECT
    sumIf(calls, NOT before) AS model_calls,
    model_calls / nullIf(sumIf(calls, before), 0) - 1 AS change
FROM ${both_weeks}
WHERE kind IN ('llm', 'embedding', 'rerank');
