"""The root of every error that taxaforge raises for a person to read.

A message names the thing, the cause and the remedy. `taxaforge.adapter.job` prints such an error
without a traceback and ends the job with its `exit_code`; any other exception keeps its traceback.
"""


class TaxaforgeError(Exception):
    """Something the user can mend: input, setting, environment.

    exit_code: status that the job ends with. 75 (`os.EX_TEMPFAIL`) says that its work is saved and
    that it goes on from there when it is started again.
    """

    exit_code = 1
