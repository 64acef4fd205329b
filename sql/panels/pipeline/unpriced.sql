-- Models whose calls have usage and no known price.
SELECT
    ${label:provider} AS provider, ${label:model} AS model,
    sum(r.unpriced) AS unpriced, sum(r.calls) AS calls,
    sum(tokens_prompt) + sum(tokens_completion) AS tokens, max(time) AS latest
FROM ${rollup_over_time} AS r
GROUP BY provider, model
HAVING unpriced > 0
ORDER BY unpriced DESC, provider, model
LIMIT 100;
