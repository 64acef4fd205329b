"""What a reader may name: functions, tables, settings and formats.

The lists were made by going through the tables `system.functions`, `table_functions`, `tables`,
`settings` and `formats` of the engine named by `VETTED_ENGINE`, class by class; a newer engine has to
be gone through again (tests/clickhouse_http/test_lists.py says what is new in it).
"""

from __future__ import annotations

import re
from typing import Final

VETTED_ENGINE: Final = "26.9."

# Table functions that make rows out of nothing but their arguments. All others reach files, the
# network, other processes, this process's objects, or tables by a name in a string.
TABLE_FUNCTIONS: Final = frozenset(
    {"numbers", "numbers_mt", "generateseries", "generate_series", "generaterandom", "primes", "null",
     "values", "sqlstandardvalues", "view"}
)  # fmt: skip

# Names the parser makes which are not in system.functions.
PARSER_FUNCTIONS: Final = frozenset({"lambda", "exists", "grouping"})

# Refused whole categories of system.functions: models and credentials of the configuration (AI, machine
# learning), dictionaries, addresses and parts of the process (introspection), the engine's own helpers.
DENIED_CATEGORIES: Final = frozenset(
    {"AI", "Machine Learning", "Dictionary", "Embedded Dictionary", "Introspection", "Internal"}
)
# ... of which the parser itself makes these.
ALLOWED_INTERNAL: Final = frozenset({"_cast", "casewithexpression", "nested"})
DENIED_FUNCTIONS: Final = frozenset(
    {
        # Files, the machine, the configuration, the request.
        "file", "filesystemavailable", "filesystemcapacity", "filesystemunreserved", "showcertificate",
        "hostname", "fqdn", "displayname", "getoskernelversion", "getmacro", "getserverport", "tcpport",
        "getserversetting", "getclienthttpheader", "currentrequesturl", "currenthandler", "serveruuid",
        # Tables by a name in a string, one of them on another machine.
        "joinget", "joingetornull", "hascolumnintable",
        # Coordination services, and formats that read a schema's file.
        "generateserialid", "zookeepersessionuptime", "formatrow", "formatrownonewline",
        # Made for tests and for symbolizing addresses.
        "fuzzquery", "aggthrow", "flamegraph",
    }
)  # fmt: skip

INFORMATION_SCHEMAS: Final = frozenset({"information_schema", "INFORMATION_SCHEMA"})
# Tables of `system` about what the engine knows and which tables there are: nothing about other
# people's queries, the machine, the configuration, users, or logs.
SYSTEM_TABLES: Final = frozenset(
    {
        "aggregate_function_combinators", "build_options", "codecs", "collations", "columns", "constraints",
        "contributors", "data_skipping_index_types", "data_skipping_indices", "data_type_families",
        "database_engines", "databases", "dictionaries", "documentation", "formats", "functions", "keywords",
        "licenses", "merge_tree_settings", "mutations", "numbers", "numbers_mt", "one", "parts",
        "parts_columns", "primes", "projections", "settings", "table_engines", "table_functions", "tables",
        "time_zones", "tokenizers", "unicode", "zeros", "zeros_mt",
    }
)  # fmt: skip

# Tables of the store that are not for every reader: prompts and completions.
CONTENT_TABLES: Final = frozenset({"content"})

# Formats that read or write a schema's file, and names that chDB's Python layer takes for itself.
DENIED_FORMATS: Final = frozenset(
    {"protobuf", "protobufsingle", "protobuflist", "capnproto", "template", "templateignorespaces",
     "arrowtable", "dataframe", "datastore"}
)  # fmt: skip

# Settings a reader may set: how a result looks, and how a query is computed.
ALLOWED_SETTINGS: Final = re.compile(
    r"""
    (?:in|out)put_format_\w+ | format_(?:csv|tsv|custom|json|binary)_\w+
    | date_time_(?:input|output)_format | session_timezone | cast_\w+
    | (?:type|validate)_json_\w+ | enable_json_type
    | join_(?:use_nulls|algorithm|default_strictness|any_take_last_row|overflow_mode) | any_join_\w+
    | group_by_(?:use_nulls|overflow_mode) | (?:distinct|set|sort|read|result|timeout)_overflow_mode
    | max_rows_(?:to_read|to_group_by|to_sort|in_join|in_set|in_distinct|to_transfer) | max_rows_to_read_leaf
    | max_bytes_(?:to_read|to_sort|in_join|in_set|in_distinct) | max_result_(?:rows|bytes)
    | max_execution_time | max_memory_usage | max_threads | max_columns_to_read | max_block_size
    | optimize_\w+ | query_plan_\w+ | totals_mode | extremes | limit | offset | final
    | aggregate_functions_null_for_empty | transform_null_in | prefer_column_name_to_alias
    | prefer_global_in_and_join | union_default_mode | intersect_default_mode | except_default_mode
    | enable_named_columns_in_function_tuple
    | describe_(?:compact_output|include_subcolumns|extend_object_types)
    | low_cardinality_allow_in_native_format | allow_suspicious_\w+ | enable_time_time64_type
    | allow_experimental_(?:json|object|variant|dynamic)_type
    | allow_experimental_time_series_aggregate_functions
    | asterisk_include_\w+ | data_type_default_nullable | short_circuit_function_evaluation
    | first_day_of_week | geo_\w+_encoding | formatdatetime_\w+ | regexp_max_matches_per_row
    | allow_hyperscan | splitby_max_substrings_includes_remaining_string
    | function_json_\w+ | decimal_check_overflow | interval_output_format | count_distinct_\w+
    """,
    re.VERBOSE,
)
# ... except these: they name a file to write, a schema's file, an address, or show secrets.
DENIED_SETTINGS: Final = re.compile(r"output_format_schema|\w*(?:file_path|schema|registry)\w*|\w*secrets\w*")
# Settings that in addition a writer may set.
WRITE_SETTINGS: Final = re.compile(
    r"""
    insert_\w+ | distributed_foreground_insert | async_insert | wait_for_async_insert(?:_timeout)?
    | (?:min|max)_insert_block_size\w* | deduplicate_\w+
    | materialized_views_\w+ | wait_for_part_commit_in_dependent_materialized_views | parallel_view_processing
    | throw_on_max_partitions_per_insert_block
    | max_partitions_per_insert_block | mutations_sync | alter_sync | flatten_nested | max_insert_threads
    """,
    re.VERBOSE,
)
# Parameters of ClickHouse's HTTP interface that mean nothing here, or are handled elsewhere.
TRANSPORT_PARAMETERS: Final = frozenset(
    {
        "query", "database", "default_format", "query_id", "user", "password", "quota_key", "role",
        "session_id", "session_timeout", "session_check", "close_session", "compress", "decompress",
        "enable_http_compression", "http_zlib_compression_level", "wait_end_of_query", "buffer_size",
        "send_progress_in_http_headers", "http_headers_progress_interval_ms", "client_protocol_version",
        "add_http_cors_header", "cancel_http_readonly_queries_on_client_close", "stacktrace", "log_comment",
        "log_queries", "framing", "network_compression_method", "http_receive_timeout", "http_send_timeout",
        "http_write_exception_in_output_format", "receive_timeout", "send_timeout", "connect_timeout",
        "priority", "async",
    }
)  # fmt: skip

# What a writer may create and keep in a table.
TABLE_ENGINES: Final = re.compile(
    r"(?:Replacing|Summing|Aggregating|Collapsing|VersionedCollapsing)?MergeTree|Memory|Null|Log|TinyLog|StripeLog"
)
TABLE_SETTINGS: Final = re.compile(
    r"index_granularity(?:_bytes)?|non_replicated_deduplication_window|min_level_for_wide_part|ttl_only_drop_parts|allow_nullable_key"
    r"|merge_with_ttl_timeout|min_(?:rows|bytes)_for_wide_part|deduplicate_merge_projection_mode"
    r"|min_free_disk_bytes_to_perform_insert"
)
ALTER_COMMANDS: Final = frozenset(
    {"ADD_COLUMN", "DROP_COLUMN", "MODIFY_COLUMN", "RENAME_COLUMN", "COMMENT_COLUMN", "UPDATE", "DELETE",
     "ADD_INDEX", "DROP_INDEX", "MATERIALIZE_INDEX", "MODIFY_COMMENT", "MODIFY_ORDER_BY", "MODIFY_QUERY",
     "MODIFY_SETTING"}
)  # fmt: skip
