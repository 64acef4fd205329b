-- The user of `spanhouse translate`. The second statement gives a user that exists the password of now.
CREATE USER IF NOT EXISTS spanhouse_writer IDENTIFIED WITH sha256_hash BY {hash} SALT {salt};
ALTER USER spanhouse_writer IDENTIFIED WITH sha256_hash BY {hash} SALT {salt};
GRANT spanhouse_write TO spanhouse_writer;
