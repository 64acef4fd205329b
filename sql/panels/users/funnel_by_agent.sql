-- The same by agent: tasks it was in, those in which it called tools, and those that succeeded.
SELECT
    agent, count() AS tasks, uniqExact(user) AS users,
    countIf(tool) / tasks AS called_a_tool,
    countIf(answered) / nullIf(countIf(tool), 0) AS tools_answered,
    countIf(succeeded) / tasks AS succeeded_share
FROM
(
    SELECT
        groupUniqArrayIf(toString(agent), agent != '' AND ${filters}) AS agents,
        groupUniqArrayIf(toString(agent), agent != '' AND kind IN ('tool', 'mcp')) AS with_tools,
        groupUniqArrayIf(toString(agent), agent != '' AND kind IN ('tool', 'mcp') AND status != 'error') AS with_answers,
        max(parent_span_id = '' AND status != 'error') AS succeeded,
        nullIf(max(user_id_hash), '') AS user
    FROM agent_events
    WHERE $__timeFilter(ts) AND ${of_tenants}
    GROUP BY cityHash64(trace_id)
    HAVING max(parent_span_id = '') AND notEmpty(agents)
)
ARRAY JOIN agents AS agent, arrayMap(a -> has(with_tools, a), agents) AS tool,
    arrayMap(a -> has(with_answers, a), agents) AS answered
GROUP BY agent
ORDER BY tasks DESC, agent
LIMIT 100;
