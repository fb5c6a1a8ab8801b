from . import one_sample as one_sample
from .estimate import estimate as estimate
from .preparing import SCOPES as SCOPES, prepare as prepare, prepare_example as prepare_example
from .scoring import do_run as do_run, score as score
