SELECT
    sumIf(tokens_cache_read, NOT before) / nullIf(sumIf(tokens_prompt, NOT before), 0) AS cached,
    sumIf(tokens_cache_read, before) / nullIf(sumIf(tokens_prompt, before), 0) AS week_before
FROM ${both_weeks};
