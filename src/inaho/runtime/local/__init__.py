"""What all parts of one node share: clocks, the local history, the ticker, limited warnings, access to the storage.

It imports no other room of the runtime. Every room may import from it.
"""
