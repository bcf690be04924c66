"""The proof under faults: nights in a real `pdk up` whose parts are killed, held up, filled up and lied to.

The same nights are done twice, once undisturbed, and both must come to the same. `python -m tests.faults` runs it for
as long as one likes; test_faults.py is a short run of it.
"""
