"""The loop: a store that handlers fill, a queue of keys, and workers that plan and execute one key at a time."""
