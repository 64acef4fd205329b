-- What is aimed at: objectives of services and budgets of tenants, as spanhouse.yaml says. `spanhouse up` and
-- `spanhouse migrate` write a line for what has changed (sql/queries/set_objectives.sql, set_budgets.sql), so these
-- tables are also their history. The newest line of a service or tenant holds; one that is not active takes it away.
CREATE TABLE IF NOT EXISTS objectives_state
(
    set_at DateTime64(9, 'UTC') DEFAULT now64(9),
    -- '' stands for every service without a line of its own.
    service String,
    -- Share of requests without an error.
    availability Float64,
    -- Share of minutes in which 95 % of the requests take no longer than so many milliseconds.
    latency_ms Float64,
    latency_share Float64,
    active Bool
)
ENGINE = MergeTree
ORDER BY (service, set_at);

CREATE TABLE IF NOT EXISTS budgets_state
(
    set_at DateTime64(9, 'UTC') DEFAULT now64(9),
    -- '' stands for all tenants together.
    tenant_id String,
    usd_per_month Float64,
    active Bool
)
ENGINE = MergeTree
ORDER BY (tenant_id, set_at);

CREATE VIEW IF NOT EXISTS objectives AS
SELECT service, availability, latency_ms, latency_share
FROM (SELECT * FROM objectives_state ORDER BY set_at DESC LIMIT 1 BY service)
WHERE active;

CREATE VIEW IF NOT EXISTS budgets AS
SELECT tenant_id, usd_per_month
FROM (SELECT * FROM budgets_state ORDER BY set_at DESC LIMIT 1 BY tenant_id)
WHERE active;
