-- A user who reads the rows of one tenant.
CREATE USER IF NOT EXISTS {user} IDENTIFIED WITH sha256_hash BY {hash} SALT {salt};
ALTER USER {user} IDENTIFIED WITH sha256_hash BY {hash} SALT {salt};
GRANT spanhouse_tenant TO {user};
CREATE ROW POLICY IF NOT EXISTS {user} ON agent_events USING tenant_id = {tenant} TO {user};
CREATE ROW POLICY IF NOT EXISTS {user} ON agent_metrics_1m_state USING tenant_id = {tenant} TO {user};
CREATE ROW POLICY IF NOT EXISTS {user} ON agent_metrics_1h_state USING tenant_id = {tenant} TO {user};
CREATE ROW POLICY IF NOT EXISTS {user} ON agent_metrics_1d_state USING tenant_id = {tenant} TO {user};
CREATE ROW POLICY IF NOT EXISTS {user} ON budgets_state USING tenant_id = {tenant} TO {user};
CREATE ROW POLICY IF NOT EXISTS {user} ON content USING tenant_id = {tenant} TO {user};
CREATE ROW POLICY IF NOT EXISTS {user} ON evaluations USING tenant_id = {tenant} TO {user};
