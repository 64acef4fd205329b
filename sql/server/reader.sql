-- A user who reads everything but prompts and completions: Grafana, analysts.
CREATE USER IF NOT EXISTS spanhouse_reader IDENTIFIED WITH sha256_hash BY {hash} SALT {salt};
ALTER USER spanhouse_reader IDENTIFIED WITH sha256_hash BY {hash} SALT {salt};
GRANT spanhouse_read TO spanhouse_reader;
