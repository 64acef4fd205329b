SELECT
    ${label:provider} AS provider,
    ${label:model} AS model,
    n AS calls,
    usd AS cost,
    usd / nullIf(sum(usd) OVER (), 0) AS share,
    usd / nullIf(usd_before, 0) - 1 AS change,
    usd / nullIf(n, 0) AS per_call,
    input,
    cache_read / nullIf(input, 0) AS cached,
    output,
    1000000 * usd / nullIf(input + output, 0) AS per_million
FROM
(
    SELECT
        provider,
        model,
        sumIf(calls, NOT before AND kind IN ('llm', 'embedding', 'rerank')) AS n,
        toFloat64(sumIf(cost_usd, NOT before)) AS usd,
        toFloat64(sumIf(cost_usd, before)) AS usd_before,
        sumIf(tokens_prompt, NOT before) AS input,
        sumIf(tokens_cache_read, NOT before) AS cache_read,
        sumIf(tokens_completion, NOT before) AS output
    FROM ${both_weeks}
    WHERE kind IN ('llm', 'embedding', 'rerank') OR cost_usd > 0
    GROUP BY provider, model
    HAVING n > 0 OR usd > 0
)
ORDER BY cost DESC, calls DESC, provider, model
LIMIT 100;
