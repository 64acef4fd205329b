-- Models whose price is not known, with their calls and tokens; from the rows, as rollups do not tell priced calls of a
-- model from others.
SELECT
    toString(provider) AS provider,
    toString(model) AS model,
    count() AS calls,
    sum(tokens_prompt + tokens_completion) AS tokens,
    toDate(max(ts)) AS last_seen
FROM agent_events
WHERE cost_source = 'unpriced'
GROUP BY provider, model
ORDER BY calls DESC, provider, model;
