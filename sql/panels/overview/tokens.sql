SELECT
    sumIf(tokens_prompt + tokens_completion, NOT before) AS tokens,
    tokens / nullIf(sumIf(tokens_prompt + tokens_completion, before), 0) - 1 AS change
FROM ${both_weeks};
