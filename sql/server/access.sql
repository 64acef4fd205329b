-- Who may do what on a server: roles, their rights, limits and quotas. `spanhouse` stands for the name of the
-- database. What exists stays as it is, so limits and quotas can be changed by ALTER.
CREATE ROLE IF NOT EXISTS spanhouse_write;

-- The translator inserts. It reads where a row came from, to prove that it is there, and what rollups are made
-- of, to mend them: besides dimensions and numbers the ids of sessions and the hashes of users, which are counted.
-- No content: no attributes, events, names or messages.
GRANT INSERT ON agent_events TO spanhouse_write;
GRANT SELECT
(
    ts, trace_id, span_id, topic, partition, offset, ingested_at,
    tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name, prompt_name,
    prompt_version, experiment, variant, status, latency_ms, ttft_ms, tokens_prompt, tokens_completion,
    tokens_cache_read, tokens_cache_write, tokens_reasoning, cost_usd, cost_source, user_id_hash, session_id,
    -- An alias is asked for by its name or by what it is made of.
    entry, parent_span_id, span_kind, flags
) ON agent_events TO spanhouse_write;
-- Prompts and completions it may write and not read, but for which spans have any.
GRANT INSERT ON content TO spanhouse_write;
GRANT SELECT (ts, trace_id, span_id) ON content TO spanhouse_write;
GRANT INSERT ON evaluations TO spanhouse_write;
GRANT SELECT (ts, trace_id, span_id) ON evaluations TO spanhouse_write;
GRANT INSERT, SELECT ON agent_metrics_1m_state TO spanhouse_write;
GRANT INSERT, SELECT ON agent_metrics_1h_state TO spanhouse_write;
GRANT INSERT, SELECT ON agent_metrics_1d_state TO spanhouse_write;
GRANT SELECT ON schema_versions TO spanhouse_write;

-- readonly = 2: clients such as Grafana set limits of their own, within these.
CREATE SETTINGS PROFILE IF NOT EXISTS spanhouse_read SETTINGS
    readonly = 2,
    max_execution_time = 60 MIN 1 MAX 300,
    max_memory_usage = 2000000000 MIN 1 MAX 4000000000,
    max_result_rows = 10000000 MIN 1 MAX 10000000,
    max_concurrent_queries_for_user = 50 CONST,
    -- A trace is in one of many parts: their indexes are asked before they are opened.
    use_skip_indexes_on_data_read = 0,
    -- A plan that is shipped to another server forgets row policies (ClickHouse issue 112891).
    serialize_query_plan = 0 CONST;

-- Reads everything but prompts and completions.
CREATE ROLE IF NOT EXISTS spanhouse_read SETTINGS PROFILE 'spanhouse_read';
GRANT SELECT ON agent_events TO spanhouse_read;
GRANT SELECT ON evaluations TO spanhouse_read;
GRANT SELECT ON agent_metrics_1m TO spanhouse_read;
GRANT SELECT ON agent_metrics_1h TO spanhouse_read;
GRANT SELECT ON agent_metrics_1d TO spanhouse_read;
GRANT SELECT ON agent_metrics_1m_state TO spanhouse_read;
GRANT SELECT ON agent_metrics_1h_state TO spanhouse_read;
GRANT SELECT ON agent_metrics_1d_state TO spanhouse_read;
GRANT SELECT ON objectives TO spanhouse_read;
GRANT SELECT ON objectives_state TO spanhouse_read;
GRANT SELECT ON budgets TO spanhouse_read;
GRANT SELECT ON budgets_state TO spanhouse_read;
GRANT SELECT ON otel_traces TO spanhouse_read;
GRANT SELECT ON otel_traces_trace_id_ts TO spanhouse_read;
GRANT SELECT ON schema_versions TO spanhouse_read;
-- How large its tables are; ClickHouse shows only those of tables that one may read.
GRANT SELECT (database, table, partition, active, rows, bytes_on_disk, modification_time) ON system.parts
    TO spanhouse_read;

-- Reads the rows of one tenant; which one, a policy for each user says (tenant.sql). Without one it reads none.
CREATE ROLE IF NOT EXISTS spanhouse_tenant SETTINGS PROFILE 'spanhouse_read';
GRANT SELECT ON agent_events TO spanhouse_tenant;
GRANT SELECT ON evaluations TO spanhouse_tenant;
GRANT SELECT ON agent_metrics_1m TO spanhouse_tenant;
GRANT SELECT ON agent_metrics_1h TO spanhouse_tenant;
GRANT SELECT ON agent_metrics_1d TO spanhouse_tenant;
GRANT SELECT ON agent_metrics_1m_state TO spanhouse_tenant;
GRANT SELECT ON agent_metrics_1h_state TO spanhouse_tenant;
GRANT SELECT ON agent_metrics_1d_state TO spanhouse_tenant;
GRANT SELECT ON objectives TO spanhouse_tenant;
GRANT SELECT ON objectives_state TO spanhouse_tenant;
GRANT SELECT ON budgets TO spanhouse_tenant;
GRANT SELECT ON budgets_state TO spanhouse_tenant;
GRANT SELECT ON otel_traces TO spanhouse_tenant;
GRANT SELECT ON otel_traces_trace_id_ts TO spanhouse_tenant;
CREATE ROW POLICY IF NOT EXISTS spanhouse_all ON agent_events USING 1 TO ALL EXCEPT spanhouse_tenant;
CREATE ROW POLICY IF NOT EXISTS spanhouse_all ON evaluations USING 1 TO ALL EXCEPT spanhouse_tenant;
CREATE ROW POLICY IF NOT EXISTS spanhouse_all ON agent_metrics_1m_state USING 1 TO ALL EXCEPT spanhouse_tenant;
CREATE ROW POLICY IF NOT EXISTS spanhouse_all ON agent_metrics_1h_state USING 1 TO ALL EXCEPT spanhouse_tenant;
CREATE ROW POLICY IF NOT EXISTS spanhouse_all ON agent_metrics_1d_state USING 1 TO ALL EXCEPT spanhouse_tenant;
CREATE ROW POLICY IF NOT EXISTS spanhouse_all ON budgets_state USING 1 TO ALL EXCEPT spanhouse_tenant;
CREATE ROW POLICY IF NOT EXISTS spanhouse_none ON agent_events USING 0 TO spanhouse_tenant;
CREATE ROW POLICY IF NOT EXISTS spanhouse_none ON evaluations USING 0 TO spanhouse_tenant;
CREATE ROW POLICY IF NOT EXISTS spanhouse_none ON agent_metrics_1m_state USING 0 TO spanhouse_tenant;
CREATE ROW POLICY IF NOT EXISTS spanhouse_none ON agent_metrics_1h_state USING 0 TO spanhouse_tenant;
CREATE ROW POLICY IF NOT EXISTS spanhouse_none ON agent_metrics_1d_state USING 0 TO spanhouse_tenant;
CREATE ROW POLICY IF NOT EXISTS spanhouse_none ON budgets_state USING 0 TO spanhouse_tenant;

-- Reads prompts and completions. Nobody has it until you grant it.
CREATE ROLE IF NOT EXISTS spanhouse_content SETTINGS PROFILE 'spanhouse_read';
GRANT SELECT ON content TO spanhouse_content;
CREATE ROW POLICY IF NOT EXISTS spanhouse_all ON content USING 1 TO ALL EXCEPT spanhouse_tenant;
CREATE ROW POLICY IF NOT EXISTS spanhouse_none ON content USING 0 TO spanhouse_tenant;

-- For each user by itself.
CREATE QUOTA IF NOT EXISTS spanhouse_read KEYED BY user_name
    FOR INTERVAL 1 minute MAX queries = 3000,
    FOR INTERVAL 1 hour MAX execution_time = 36000
    TO spanhouse_read, spanhouse_tenant;
