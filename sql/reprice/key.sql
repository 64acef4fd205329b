-- What the price of a row depends on besides its tokens, within one day: the model, which of the times of the day (in
-- seconds) at which prices change was the last before it, and the attributes that may name its service tier.
(
    toString(provider),
    toString(model),
    arrayCount(time -> toUnixTimestamp(ts) % 86400 >= time, {times:Array(UInt32)}),
    arrayMap(
        text -> substring(text, 1, 64),
        arrayConcat(
            arrayMap(name -> attrs[name], {of_span:Array(String)}),
            arrayMap(name -> resource[name], {of_resource:Array(String)}),
            arrayMap(name -> scope_attrs[name], {of_scope:Array(String)})
        )
    )
)
