-- From the spans: a rollup does not tell tokens that have a price from those that have none.
SELECT
    ${label:provider} AS provider,
    ${label:model} AS model,
    count() AS calls,
    sum(tokens_prompt) AS input,
    sum(tokens_completion) AS output,
    max(ts) AS last_seen
FROM agent_events
WHERE $__timeFilter(ts) AND ${filters} AND cost_source = 'unpriced'
GROUP BY provider, model
ORDER BY input + output DESC, provider, model
LIMIT 100;
