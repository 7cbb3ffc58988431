"""What runs inside a training pod: `prepare` fetches source and inputs, `execute` minds the script.

Standard library only, and good for Python 3.9 and newer: it is carried into whatever image a run names.
"""
