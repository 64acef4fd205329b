-- Make `lines` (service, availability, latency_ms, latency_share) the objectives. What is so already is not written
-- again; one insert, so all of it is seen at once.
INSERT INTO objectives_state (service, availability, latency_ms, latency_share, active)
WITH CAST({lines:Array(Tuple(String, Float64, Float64, Float64))} AS Array(Tuple(String, Float64, Float64, Float64))) AS lines
SELECT service, availability, latency_ms, latency_share, active
FROM
(
    SELECT
        line.1 AS service, line.2 AS availability, line.3 AS latency_ms, line.4 AS latency_share, true AS active
    FROM (SELECT arrayJoin(lines) AS line)
    UNION ALL
    SELECT service, availability, latency_ms, latency_share, false
    FROM objectives
    WHERE NOT has(lines.1, service)
)
WHERE (service, availability, latency_ms, latency_share, active) NOT IN
(
    SELECT service, availability, latency_ms, latency_share, true FROM objectives
);
