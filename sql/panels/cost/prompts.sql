SELECT
    ${label:prompt_name} AS prompt,
    ${label:prompt_version} AS version,
    n AS calls,
    usd AS cost,
    usd / nullIf(sum(usd) OVER (), 0) AS share,
    usd / nullIf(usd_before, 0) - 1 AS change,
    usd / nullIf(n, 0) AS per_call,
    input / nullIf(n, 0) AS input_per_call,
    output / nullIf(n, 0) AS output_per_call
FROM
(
    SELECT
        prompt_name,
        prompt_version,
        sumIf(calls, NOT before AND kind IN ('llm', 'embedding', 'rerank')) AS n,
        toFloat64(sumIf(cost_usd, NOT before)) AS usd,
        toFloat64(sumIf(cost_usd, before)) AS usd_before,
        sumIf(tokens_prompt, NOT before) AS input,
        sumIf(tokens_completion, NOT before) AS output
    FROM ${both_weeks}
    WHERE kind IN ('llm', 'embedding', 'rerank') OR cost_usd > 0
    GROUP BY prompt_name, prompt_version
    HAVING n > 0 OR usd > 0
)
ORDER BY cost DESC, prompt, version
LIMIT 100;
