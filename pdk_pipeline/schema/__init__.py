"""The whole schema as numbered SQL files. `database.migrate` applies those that a database lacks, in order."""
