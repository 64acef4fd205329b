-- Which of `keys` a row has; 0 for none of them. Their numbers come as a parameter, from 1 on.
transform(toString({key}), {keys:Array(String)}, {numbers:Array(UInt32)}, toUInt32(0))
