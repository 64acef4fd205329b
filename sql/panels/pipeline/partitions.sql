-- Partitions with most parts: where merges do not keep up, there are many.
SELECT table, partition, count() AS parts, sum(rows) AS rows_stored, sum(bytes_on_disk) AS bytes
FROM system.parts
WHERE database = currentDatabase() AND active
GROUP BY table, partition
ORDER BY parts DESC, bytes DESC, table, partition
LIMIT 20;
