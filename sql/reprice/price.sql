-- Dollars that a row costs, NULL where its price is not known; rounded once, as processors/price.py does. The key with
-- number n has its rates at `first[n]`, or one later for each of `steps[n]` that the input tokens are above.
arrayMap(
    rate -> if(
        (tokens_prompt > 0 AND {prices_input:Array(Bool)}[rate])
            OR (tokens_completion > 0 AND {prices_output:Array(Bool)}[rate]),
        CAST(
            roundBankers(
                (tokens_prompt - tokens_cache_read - tokens_cache_write) * {input:Array(Decimal(76, 24))}[rate]
                    + tokens_cache_read * {cache_read:Array(Decimal(76, 24))}[rate]
                    + tokens_cache_write * {cache_write:Array(Decimal(76, 24))}[rate]
                    + (tokens_completion - tokens_reasoning) * {output:Array(Decimal(76, 24))}[rate]
                    + tokens_reasoning * {reasoning:Array(Decimal(76, 24))}[rate]
                    + {request:Array(Decimal(76, 24))}[rate],
                10
            ),
            'Nullable(Decimal(18, 10))'
        ),
        NULL
    ),
    [
        {first:Array(UInt32)}[{number}]
            + arrayCount(step -> tokens_prompt > step, {steps:Array(Array(UInt64))}[{number}])
    ]
)[1]
