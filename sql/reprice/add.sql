-- Add to the minutes, hours or days what they lack. Without calls and times, so that percentiles stay what they are; what takes off wraps
-- around.
INSERT INTO {rollup}
(
    {period}, tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry, unpriced, cost_usd
)
SELECT
    {period}, tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry, toUInt64(d.unpriced), d.cost_usd
FROM ({difference}) AS d
WHERE d.calls = 0 AND d.newest <= now64(3) - toIntervalSecond({quiet:UInt32});
