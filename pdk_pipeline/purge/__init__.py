"""Everything that goes: runs deleted and brought back, what is old by the settings, and the disk given back.

Long work is done in `steps`. Nothing goes by itself: the night and the commands ask for it.
"""
