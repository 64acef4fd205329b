-- The same for its hours, which are made from the minutes, or the day, which is made from the hours.
SELECT
    {period}, tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry,
    sum(d.calls) AS calls, sum(d.unpriced) AS unpriced, sum(d.cost_usd) AS cost_usd,
    toDateTime64(0, 3, 'UTC') AS newest
FROM
(
    SELECT
        {start} AS {period}, tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
        prompt_name, prompt_version, experiment, variant, entry,
        toInt64(sum(f.calls)) AS calls, toInt64(sum(f.unpriced)) AS unpriced, sum(f.cost_usd) AS cost_usd
    FROM {finer} AS f
    WHERE toDate({start}) = toDate({day:UInt16})
    GROUP BY {period}, tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
        prompt_name, prompt_version, experiment, variant, entry
    UNION ALL
    SELECT {period}, tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
        prompt_name, prompt_version, experiment, variant, entry,
        -toInt64(sum(s.calls)), -toInt64(sum(s.unpriced)), -sum(s.cost_usd)
    FROM {rollup} AS s
    WHERE toDate(s.{period}) = toDate({day:UInt16})
    GROUP BY {period}, tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
        prompt_name, prompt_version, experiment, variant, entry
) AS d
GROUP BY {period}, tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry
HAVING unpriced != 0 OR cost_usd != 0;
