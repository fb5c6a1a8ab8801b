from .batches import in_batches as in_batches, is_out_of_memory as is_out_of_memory
from .factors import FORM as FORM, Factors as Factors, find_nearest as find_nearest, unit_rows as unit_rows
from .head import (
    HeadGradients as HeadGradients,
    capture_features as capture_features,
    find_head as find_head,
    head_gradients as head_gradients,
)
from .losses import (
    LOSSES as LOSSES,
    BinaryCrossEntropy as BinaryCrossEntropy,
    CrossEntropy as CrossEntropy,
    NextToken as NextToken,
    SquaredError as SquaredError,
)
from .per_sample import PerSampleGradients as PerSampleGradients
from .results import GradientBatch as GradientBatch, join_batches as join_batches
from .scope import ALL as ALL, HEAD as HEAD, LORA as LORA, SCOPES as SCOPES, parameters_in as parameters_in
from .sketch import WIDTH as WIDTH
