"""What users write, and what is read from it: `Grain`, its methods, their options, stateless kinds.

It imports only `local`. `turns` and above may import from it. What a grain asks of its host is a protocol in `ports`.
"""
