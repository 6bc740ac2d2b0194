"""The root of every error that taxaforge raises for a person to read.

A message names the thing, the cause and the remedy. `taxaforge.adapter.job` prints such an error
without a traceback and ends the job with status 1; any other exception keeps its traceback.
"""


class TaxaforgeError(Exception):
    """Something the user can mend: input, setting, environment."""
