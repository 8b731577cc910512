"""One module per stage: what an order does to the store and to outside systems, once per key."""
