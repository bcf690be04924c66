"""From a log file to rows: claimed, read, stored once, archived; what is bad in it to the quarantine.

The way of a log: `spool` claims it, `importing` takes it with others, `deliveries` counts and stores it (`reading`,
`ingest`) and writes the `ledger`. What logs look like is not said here but in `formats`.
"""
