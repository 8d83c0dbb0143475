"""Which versions, data sets and decisions exist, and the append-only ledger of how they came to be."""
