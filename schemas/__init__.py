"""What things are: ids, tables, units, sectors, licences, quality results, errors.

Pure: no I/O, no clock, no framework. Everything above imports from here; this package imports
nothing of the project.
"""
