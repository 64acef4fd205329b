-- What the tables take on the disk, now. On a cluster of the node that is asked.
SELECT
    table,
    sum(rows) AS rows_stored,
    sum(bytes_on_disk) AS bytes,
    bytes / nullIf(rows_stored, 0) AS bytes_per_row,
    count() AS parts,
    uniqExact(partition) AS partitions,
    max(modification_time) AS last_written
FROM system.parts
WHERE database = currentDatabase() AND active
GROUP BY table
ORDER BY bytes DESC, table;
